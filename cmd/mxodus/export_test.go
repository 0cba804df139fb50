package main

import (
	"testing"

	"github.com/mxodus/mxodus/plan/spreadsheet"
)

// TestCellsThatSpreadsheetsRun: none of them begins in a way that one would run it.
func TestCellsThatSpreadsheetsRun(t *testing.T) {
	for cell, want := range map[string]string{
		"=HYPERLINK(\"http://x\")": "'=HYPERLINK(\"http://x\")", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1",
		"": "", "INBOX": "INBOX", "a=b": "a=b", "'=1": "'=1",
	} {
		if got := spreadsheet.Guarded(cell); got != want {
			t.Errorf("%q is written as %q, want %q", cell, got, want)
		}
	}
}
