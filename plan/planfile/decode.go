package planfile

import (
	"bytes"
	"fmt"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/literal"
)

// Decode reads a plan file. It refuses one whose digest is wrong (ErrDigest),
// one of another format (ErrFormat), and one that is not byte for byte what
// Encode writes for what it says (ErrFormat): there is one spelling of a plan.
// Other errors name the line.
func Decode(data []byte) (*plan.Plan, error) {
	sum, err := header(data)
	if err != nil {
		return nil, err
	}
	file, err := literal.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	p, err := decodeFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	again, err := Encode(p)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: line %d is not written as mxodus writes it; make the plan with mxodus plan", ErrFormat, firstDifference(data, again))
	}
	p.Digest = sum
	return p, nil
}

// firstDifference is the line of data at which it differs from want. Line 2 is
// passed over: it differs because something else does.
func firstDifference(data, want []byte) int {
	a, b := bytes.Split(data, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range a {
		if i != 1 && (i >= len(b) || !bytes.Equal(a[i], b[i])) {
			return i + 1
		}
	}
	return len(a)
}

func decodeFile(file *literal.Block) (*plan.Plan, error) {
	p := &plan.Plan{}
	d := literal.Decode(file, 0)
	heads := d.Blocks("plan")
	if len(heads) != 1 {
		return nil, literal.Errorf(1, "it has %d plan blocks, want 1", len(heads))
	}
	if err := decodeHeader(p, heads[0]); err != nil {
		return nil, err
	}
	for _, b := range d.Blocks("phase") {
		w, err := decodeWindow(b)
		if err != nil {
			return nil, err
		}
		p.Schedule = append(p.Schedule, w)
	}
	for _, b := range d.Blocks("gate") {
		g, err := decodeGate(b)
		if err != nil {
			return nil, err
		}
		p.Gates = append(p.Gates, g)
	}
	for _, b := range d.Blocks("finding") {
		f, err := decodeFinding(b)
		if err != nil {
			return nil, err
		}
		p.Findings = append(p.Findings, f)
	}
	for _, b := range d.Blocks("step") {
		s, err := decodeStep(b)
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, s)
	}
	return p, d.End()
}

func decodeHeader(p *plan.Plan, b *literal.Block) error {
	d := literal.Decode(b, 1)
	p.Name = d.Label(0)
	p.Number = int(d.Int("number", 0, 1<<31-1))
	p.Lineage = d.String("lineage")
	p.Parent = d.String("parent")
	p.Config = d.String("config")
	p.Inventory = d.String("inventory")
	p.Timezone = d.String("timezone")
	d.Parse("cutover", func(s string) (err error) { p.Cutover, err = time.Parse(time.RFC3339Nano, s); return err })
	d.Parse("rollback", func(s string) (err error) { p.Rollback, err = phase(s); return err })
	return d.End()
}

func decodeWindow(b *literal.Block) (plan.Window, error) {
	d := literal.Decode(b, 1)
	ph, err := phase(d.Label(0))
	if err != nil && d.Err == nil {
		d.Err = literal.Errorf(b.Line, "%v", err)
	}
	w := plan.Window{Phase: ph, Hours: d.String("hours"), Gate: d.String("gate")}
	d.Parse("start", func(s string) (err error) { w.Start, err = plan.ParseMoment(s); return err })
	d.Parse("until", func(s string) (err error) { w.Until, err = plan.ParseUntil(s); return err })
	d.Parse("repeat", func(s string) (err error) { w.Repeat, err = plan.ParseDuration(s); return err })
	return w, d.End()
}

func decodeGate(b *literal.Block) (plan.Gate, error) {
	d := literal.Decode(b, 1)
	g := plan.Gate{Name: d.Label(0)}
	for _, s := range d.Strings("require") {
		c, err := plan.ParseCheckRef(s)
		if err != nil && d.Err == nil {
			d.Err = literal.Errorf(b.Line, "%v", err)
		}
		g.Require = append(g.Require, c)
	}
	g.Approve.By = d.Strings("by")
	g.Approve.Count = int(d.Int("count", 0, 1<<31-1))
	d.Parse("expires", func(s string) (err error) { g.Approve.Expires, err = plan.ParseDuration(s); return err })
	return g, d.End()
}

func decodeFinding(b *literal.Block) (plan.Finding, error) {
	d := literal.Decode(b, 1)
	f := plan.Finding{
		Check: d.Label(0), Severity: plan.Severity(d.String("severity")), Gate: d.String("gate"), Subject: d.String("subject"),
		Summary: d.String("summary"), Detail: d.Strings("detail"), Remedy: d.String("remedy"),
	}
	switch f.Severity {
	case plan.Blocks, plan.Warns, plan.Passes:
	default:
		if d.Err == nil {
			d.Err = literal.Errorf(b.Line, "there is no severity %q", f.Severity)
		}
	}
	return f, d.End()
}

func decodeStep(b *literal.Block) (plan.Step, error) {
	d := literal.Decode(b, 1)
	s := plan.Step{
		Address: d.Label(0), From: d.Strings("from"), To: d.Strings("to"), After: d.Strings("after"), Gate: d.String("gate"),
		Expect: plan.Fingerprint(d.String("expect")), Detail: d.Strings("detail"),
	}
	d.Parse("phase", func(t string) (err error) { s.Phase, err = phase(t); return err })
	d.Parse("action", func(t string) (err error) { s.Action, err = action(t); return err })
	d.Parse("undo", func(t string) (err error) { s.Undo, err = undo(t); return err })
	d.Parse("start", func(t string) (err error) { s.Start, err = plan.ParseMoment(t); return err })
	d.Parse("settle", func(t string) (err error) { s.Settle, err = plan.ParseDuration(t); return err })
	d.Parse("repeat", func(t string) (err error) { s.Repeat, err = plan.ParseDuration(t); return err })
	d.Parse("until", func(t string) (err error) { s.Until, err = plan.ParseUntil(t); return err })
	if d.Err == nil && (s.Phase == "" || s.Action == "") {
		d.Err = literal.Errorf(b.Line, "the step %q has no phase or no action", s.Address)
	}
	return s, d.End()
}

func phase(s string) (plan.Phase, error) {
	if p := plan.Phase(s); p.Valid() {
		return p, nil
	}
	return "", fmt.Errorf("there is no phase %q", s)
}

func action(s string) (plan.Action, error) {
	switch a := plan.Action(s); a {
	case plan.Create, plan.Change, plan.Delete, plan.Copy, plan.Wait, plan.Check, plan.Send, plan.ByHand:
		return a, nil
	}
	return "", fmt.Errorf("there is no action %q", s)
}

func undo(s string) (plan.Undo, error) {
	switch u := plan.Undo(s); u {
	case plan.Restore, plan.Compensate, plan.NoneNeeded, plan.Impossible:
		return u, nil
	}
	return "", fmt.Errorf("there is no undo %q", s)
}
