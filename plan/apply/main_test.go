package apply

import (
	"flag"
	"testing"

	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) {
	// The tests that run side by side wait for name servers far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	leaks.Main(m)
}
