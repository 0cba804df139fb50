package mailrecords

import (
	"fmt"
	"strings"
)

// Cost is what an SPF record asks of receivers, with everything it leads to
// (RFC 7208 §4.6.4).
type Cost struct {
	Lookups int      // terms that ask the DNS; receivers stop at more than MaxLookups
	Void    int      // look-ups that find nothing; they stop at more than MaxVoid
	Faults  []string // what receivers take as an error, in words
	Unasked []string // names that could not be asked, and why: the counts are a lower bound then
}

// The limits of RFC 7208 §4.6.4.
const (
	MaxLookups = 10
	MaxVoid    = 2
)

// Ask looks a name up (lower case, with final dot) and returns the record data; TXT as
// plain text. No data and no error means that there is none.
type Ask func(name, typ string) ([]string, error)

// SPFCost follows record, which stands at domain, as a receiver would. Terms with
// macros depend on the message: they are counted and not followed. Circles end.
func SPFCost(domain, record string, ask Ask) Cost {
	w := costWalk{ask: ask}
	w.record(absolute(domain), record)
	return w.Cost
}

type costWalk struct {
	Cost
	ask  Ask
	path []string
}

// enough ends the walk where the verdict is clear.
const enough = 3 * MaxLookups

func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

func (w *costWalk) fault(format string, args ...any) {
	w.Faults = append(w.Faults, fmt.Sprintf(format, args...))
}

func (w *costWalk) record(domain, text string) {
	for _, d := range w.path {
		if d == domain {
			w.fault("%s refers back to itself", strings.TrimSuffix(domain, "."))
			return
		}
	}
	w.path = append(w.path, domain)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	r, err := ParseSPF(text)
	if err != nil {
		w.fault("%s: %v", strings.TrimSuffix(domain, "."), err)
		return
	}
	_, all := r.Find("all")
	for _, t := range r.Terms {
		if !t.Asks() || t.Name == "redirect" && all {
			continue
		}
		if w.Lookups == enough {
			return
		}
		w.Lookups++
		w.term(domain, t)
	}
}

func (w *costWalk) term(domain string, t Term) {
	if t.Macro() || t.Name == "ptr" {
		return
	}
	name := domain
	if t.Value != "" {
		name = absolute(t.Value)
	}
	switch t.Name {
	case "include", "redirect":
		w.include(name, t)
	case "mx":
		w.look(name, "MX")
	case "a", "exists":
		w.look(name, "A", "AAAA")
	}
}

func (w *costWalk) include(name string, t Term) {
	data, err := w.ask(name, "TXT")
	if err != nil {
		w.Unasked = append(w.Unasked, fmt.Sprintf("%s: %v", strings.TrimSuffix(name, "."), err))
		return
	}
	if len(data) == 0 {
		w.Void++
	}
	var records []string
	for _, text := range data {
		if IsSPF(text) {
			records = append(records, text)
		}
	}
	if len(records) != 1 {
		w.fault("%s: %s has %d SPF records instead of one (RFC 7208 §5.2)", t, strings.TrimSuffix(name, "."), len(records))
		return
	}
	w.record(name, records[0])
}

// look counts a look-up that finds nothing under any of types.
func (w *costWalk) look(name string, types ...string) {
	for _, typ := range types {
		data, err := w.ask(name, typ)
		if err != nil {
			w.Unasked = append(w.Unasked, fmt.Sprintf("%s: %v", strings.TrimSuffix(name, "."), err))
			return
		}
		if len(data) > 0 {
			return
		}
	}
	w.Void++
}
