package hosted

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/faults"
)

// FuzzDifference: what stays and what comes are together exactly what is wanted, what goes is all else of the set and nothing of another one, and
// nothing goes and comes again.
func FuzzDifference(f *testing.F) {
	f.Add("a MX x\na MX y\nb MX x\na TXT x\n!a MX z", "x\nw")
	f.Add("a MX x\na MX x\na MX x", "x")
	f.Add("", "x\nx\ny")
	f.Add("a MX \na MX x", "")
	faults.Fuzz(f, func(t *testing.T, records, wanted string) {
		var was []Record
		for i, line := range strings.Split(records, "\n") {
			w := strings.SplitN(strings.TrimPrefix(line, "!"), " ", 3)
			if len(w) == 3 {
				was = append(was, Record{ID: strconv.Itoa(i), Name: w[0], Type: w[1], Data: w[2], Disabled: strings.HasPrefix(line, "!")})
			}
		}
		before := slices.Clone(was)
		c := plan.RRsetChange{New: plan.RRset{Name: "a", Type: "MX", Data: strings.Split(wanted, "\n")}}
		stay, gone, come := Difference(was, c)
		if !slices.Equal(was, before) {
			t.Fatal("the records were changed on the way")
		}
		then := slices.Clone(come)
		for _, r := range stay {
			then = append(then, r.Data)
		}
		slices.Sort(then)
		if want := slices.Sorted(slices.Values(c.New.Data)); !slices.Equal(then, want) {
			t.Fatalf("%v stay and %q come, wanted %q", stay, come, want)
		}
		mine := 0
		for _, r := range was {
			if r.Name == "a" && r.Type == "MX" && !r.Disabled {
				mine++
			}
		}
		for _, r := range gone {
			if r.Name != "a" || r.Type != "MX" || r.Disabled || slices.Contains(come, r.Data) || slices.Contains(stay, r) {
				t.Fatalf("%+v goes; %v stay, %q come", r, stay, come)
			}
		}
		if len(stay)+len(gone) != mine {
			t.Fatalf("%d stay and %d go of %d", len(stay), len(gone), mine)
		}
	})
}
