package main

import "strings"

// longFlags lets flags be written with one dash or with two: "-json" is what
// the documentation shows, "--json" what many fingers type. The flag package
// underneath would read one dash as a row of single letters.
//
// What stands behind "--" is left alone, as are "-", single letters ("-h") and
// negative numbers.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	copy(out, args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if len(name) > 2 && name[0] == '-' && (name[1] >= 'a' && name[1] <= 'z') {
			out[i] = "-" + arg
		}
	}
	return out
}
