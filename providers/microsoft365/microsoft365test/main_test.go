package microsoft365test_test

import (
	"testing"

	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m, leaks.OfGoIMAP...) }
