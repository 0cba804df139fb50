package dkim

import (
	"testing"

	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }
