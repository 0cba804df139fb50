package main

import (
	"slices"
	"strings"
	"testing"
)

func TestLongFlags(t *testing.T) {
	for in, want := range map[string]string{
		"plan -out plans/0001.plan":         "plan --out plans/0001.plan",
		"plan -out=-x":                      "plan --out=-x",
		"plan --out x":                      "plan --out x",
		"-chdir d -json status":             "--chdir d --json status",
		"-h":                                "-h",
		"plan -detailed-exitcode -var a=-b": "plan --detailed-exitcode --var a=-b",
		"copy -- -x":                        "copy -- -x",
		"x - -1 -5s":                        "x - -1 -5s",
		"":                                  "",
	} {
		args := strings.Fields(in)
		before := slices.Clone(args)
		if got := strings.Join(longFlags(args), " "); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("%q: the argument was changed", in)
		}
	}
}
