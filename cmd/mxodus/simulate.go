package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/state"
)

type simulateOptions struct {
	cutover string
	assume  []string
	out     string
}

func newSimulate(a *app) *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Show the timeline under other assumptions; changes nothing",
		Long: "simulate plans against " + lockFile + " as it is and shows when each phase would be.\n" +
			"-assume may be given several times:\n\n" +
			"  rate=0.8MB/s       what copying reaches, over all mailboxes (powers of 1000)\n" +
			"  size=250GB         how much there is to copy\n" +
			"  mx_ttl=86400       the TTL that MX records are cached with now, in seconds or as 24h;\n" +
			"                     likewise txt_ttl, cname_ttl and so on; ttl is all of them\n" +
			"  converge=30m       from a change of a record until every name server has it\n" +
			"  by_hand=8h         what people need for all that is by hand in one phase\n" +
			"  pass=20m           a pass over all mailboxes that finds little\n" +
			"  margin=1h          added to each old TTL\n" +
			"  now=TIME           nothing begins before it (default: the clock)",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.simulate(o) },
	}
	cmd.Flags().StringVar(&o.cutover, "cutover", "", "another `time`: local such as 2027-01-15T18:00, or with Z or an offset")
	cmd.Flags().StringArrayVar(&o.assume, "assume", nil, "suppose `name=value`; may be given several times")
	cmd.Flags().StringVarP(&o.out, "o", "o", "", "draw the timeline into `file`, an SVG")
	return cmd
}

func (a *app) simulate(o simulateOptions) error {
	loaded, err := a.load()
	if err != nil {
		return err
	}
	inv, err := a.readInventory()
	if err != nil {
		return err
	}
	if inv == nil {
		return fmt.Errorf("there is no %s to plan against: mxodus discover writes it", lockFile)
	}
	m := loaded.Migration
	loc, err := time.LoadLocation(m.Timezone)
	if err != nil {
		return err
	}
	if o.cutover != "" {
		if m.Cutover, err = parseTime(o.cutover, loc); err != nil {
			return usage("-cutover: %v", err)
		}
	}
	w := what{assume: timeline.Assume{Now: a.clock.Now()}, ttl: map[string]uint32{}, given: map[string]string{}, loc: loc}
	for _, text := range o.assume {
		if err := w.set(text); err != nil {
			return usage("-assume %s: %v", render.Escape(text), err)
		}
	}
	w.age(inv)
	p := planner.Make(planner.Input{Migration: m, Inventory: inv, Number: 1})
	est := a.readEstimates()
	sim := render.Simulation{Screen: a.screen(), Plan: p, Rows: timeline.Forecast(p, est, w.assume), Assumed: w.list(p, est)}
	if o.out != "" {
		var b bytes.Buffer
		if err := render.SimulationSVG(&b, sim); err != nil {
			return err
		}
		if err := state.WriteFile(a.path(o.out), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if a.json {
		return render.SimulationJSON(a.stdout, sim)
	}
	return render.SimulationText(a.stdout, sim)
}

// what is what somebody supposes.
type what struct {
	assume timeline.Assume
	ttl    map[string]uint32 // by record type; "" = all others
	given  map[string]string // as written, by name
	loc    *time.Location
}

func (w *what) set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || value == "" {
		return fmt.Errorf("want name=value")
	}
	var err error
	switch name {
	case "rate":
		w.assume.Rate, err = parseOctets(strings.TrimSuffix(value, "/s"))
	case "size":
		var f float64
		f, err = parseOctets(value)
		w.assume.Octets = int64(f)
	case "converge":
		w.assume.Converge, err = positive(value)
	case "by_hand":
		w.assume.ByHand, err = positive(value)
	case "pass":
		w.assume.Pass, err = positive(value)
	case "margin":
		w.assume.Margin, err = positive(value)
	case "now":
		w.assume.Now, err = parseTime(value, w.loc)
	default:
		typ, isTTL := strings.CutSuffix(name, "_ttl")
		if !isTTL && name != "ttl" {
			return fmt.Errorf("nothing is called %q: there are by_hand, converge, margin, now, pass, rate, size, ttl and TYPE_ttl such as mx_ttl", name)
		}
		if name == "ttl" {
			typ = ""
		}
		var ttl uint32
		if ttl, err = parseTTL(value); err == nil {
			w.ttl[strings.ToUpper(typ)] = ttl
		}
	}
	if err == nil {
		w.given[name] = value
	}
	return err
}

// age gives the record sets of an inventory the TTLs that are supposed.
func (w *what) age(inv *inventory.Inventory) {
	for i := range inv.Domains {
		for j := range inv.Domains[i].Sets {
			s := &inv.Domains[i].Sets[j]
			ttl, ok := w.ttl[s.Type]
			if !ok {
				ttl, ok = w.ttl[""]
			}
			if ok {
				s.TTL, s.OldTTL = ttl, ttl
			}
		}
	}
}

// list is all that the timeline rests on.
func (w *what) list(p *plan.Plan, est *inventory.Estimates) []render.Assumption {
	full := w.assume.Defaults(p, est)
	octets := full.Octets
	if octets == 0 && est != nil {
		for _, s := range p.Steps {
			if address, ok := strings.CutPrefix(s.Address, "copy/"); ok {
				octets += max(0, est.Mailboxes[address].Octets)
			}
		}
	}
	size := "not known: discover measures it"
	if octets > 0 {
		size = render.Size(octets)
	}
	all := []render.Assumption{
		{Name: "rate", Value: render.Rate(full.Rate)}, {Name: "size", Value: size}, {Name: "converge", Value: render.Span(full.Converge)},
		{Name: "by_hand", Value: render.Span(full.ByHand)}, {Name: "pass", Value: render.Span(full.Pass)},
	}
	if full.Margin > 0 {
		all = append(all, render.Assumption{Name: "margin", Value: render.Span(full.Margin)})
	}
	var ttls []string
	for typ := range w.ttl {
		ttls = append(ttls, typ)
	}
	slices.Sort(ttls)
	for _, typ := range ttls {
		name := "ttl"
		if typ != "" {
			name = strings.ToLower(typ) + "_ttl"
		}
		all = append(all, render.Assumption{Name: name, Value: render.Span(time.Duration(w.ttl[typ]) * time.Second)})
	}
	if w.given["now"] != "" {
		all = append(all, render.Assumption{Name: "now", Value: w.assume.Now.In(w.loc).Format("2 Jan 2006 15:04 MST")})
	}
	for i := range all {
		_, all[i].Given = w.given[all[i].Name]
	}
	return all
}

func positive(s string) (time.Duration, error) {
	d, err := plan.ParseDuration(s)
	if err == nil && d <= 0 {
		return 0, fmt.Errorf("want more than no time")
	}
	return d, err
}

// parseTTL reads seconds, or a duration of whole ones.
func parseTTL(s string) (uint32, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return uint32(n), nil
	}
	d, err := plan.ParseDuration(s)
	if err != nil || d < 0 || d > math.MaxInt32*time.Second {
		return 0, fmt.Errorf("want a TTL in seconds, or such as 24h")
	}
	return uint32(d / time.Second), nil
}

// parseOctets reads "0.8MB": powers of 1000, as lines and disks are sold.
func parseOctets(s string) (float64, error) {
	number, unit := strings.ToUpper(s), 1.0
	for i, u := range []string{"TB", "GB", "MB", "KB", "B"} {
		if rest, ok := strings.CutSuffix(number, u); ok {
			number, unit = rest, math.Pow(1000, float64(4-i))
			break
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(f > 0) || math.IsInf(f*unit, 0) || f*unit > 1e18 {
		return 0, fmt.Errorf("want octets such as 250GB, or with /s such as 0.8MB/s")
	}
	return f * unit, nil
}

// parseTime reads a time as the configuration writes it: local without an offset.
func parseTime(s string, loc *time.Location) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want 2027-01-15T18:00, with Z or an offset where it isn't local", s)
}
