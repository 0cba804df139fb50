package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsimple"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/state"
)

// Approval is one person's agreement that a gate may open. It is bound to the
// plan and to what was known when it was given.
type Approval struct {
	Gate     string   `hcl:"gate,label"`
	Plan     string   `hcl:"plan"`
	By       string   `hcl:"by"`
	At       string   `hcl:"at"`                // RFC 3339
	Expires  string   `hcl:"expires,optional"`  // RFC 3339, "" = never
	Held     []string `hcl:"held,optional"`     // checks that were true
	Warnings []string `hcl:"warnings,optional"` // what the checks warned of
	Evidence string   `hcl:"evidence"`          // digest of what was approved on; see evidence
}

// evidence digests what the approval says, so that a line that was taken out of it or put in by
// hand voids it.
func (a Approval) evidence() string {
	facts := []string{a.Gate, a.Plan, a.By, a.At, a.Expires, fmt.Sprint(len(a.Held))}
	facts = append(append(facts, a.Held...), a.Warnings...)
	return string(plan.FingerprintOf(facts...))
}

// by reports whether name is the person who approved: addresses and user names are the same
// in any case.
func (a Approval) by(name string) bool {
	return strings.EqualFold(strings.TrimSpace(a.By), strings.TrimSpace(name))
}

type approvalFile struct {
	Approvals []Approval `hcl:"approval,block"`
}

// approvalPath is approvals/GATE-XXXXXXXX.approval, after the plan's digest.
func approvalPath(dir, gate, digest string) string {
	short := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(dir, "approvals", fmt.Sprintf("%s-%s.approval", gate, short[:min(8, len(short))]))
}

// Approvals reads what was agreed to for gate under the plan of that digest.
// No file is no approval. A file that can't be read is an error that names it.
func Approvals(dir, gate, digest string) ([]Approval, error) {
	path := approvalPath(dir, gate, digest)
	src, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the approval: %w", err)
	}
	var f approvalFile
	if err := hclsimple.Decode(path+".hcl", src, nil, &f); err != nil {
		return nil, fmt.Errorf("the approval file %s can't be read: %w; remove it and approve again", path, err)
	}
	return f.Approvals, nil
}

// Approve adds an approval to its file, which it makes when there is none,
// and returns the file's path. The write is atomic. Approving twice as the
// same person replaces the earlier word.
func Approve(dir string, a Approval) (string, error) {
	path := approvalPath(dir, a.Gate, a.Plan)
	list, err := Approvals(dir, a.Gate, a.Plan)
	if err != nil {
		return "", err
	}
	list = slices.DeleteFunc(list, func(o Approval) bool { return o.by(a.By) })
	list = append(list, a)
	f := hclwrite.NewEmptyFile()
	for i, a := range list {
		if i > 0 {
			f.Body().AppendNewline()
		}
		b := f.Body().AppendNewBlock("approval", []string{a.Gate}).Body()
		b.SetAttributeValue("plan", cty.StringVal(a.Plan))
		b.SetAttributeValue("by", cty.StringVal(a.By))
		b.SetAttributeValue("at", cty.StringVal(a.At))
		if a.Expires != "" {
			b.SetAttributeValue("expires", cty.StringVal(a.Expires))
		}
		b.SetAttributeValue("held", stringList(a.Held))
		b.SetAttributeValue("warnings", stringList(a.Warnings))
		b.SetAttributeValue("evidence", cty.StringVal(a.Evidence))
	}
	return path, state.WriteFile(path, hclwrite.Format(f.Bytes()), 0o644)
}

func stringList(list []string) cty.Value {
	if len(list) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	values := make([]cty.Value, len(list))
	for i, s := range list {
		values[i] = cty.StringVal(s)
	}
	return cty.TupleVal(values)
}

// NewApproval is the approval of gate by a person at now, on the evidence that
// answers are. It is refused when the gate asks for other people.
func NewApproval(p *plan.Plan, gate, by string, answers []Answer, now time.Time) (Approval, error) {
	g, ok := p.Gate(gate)
	if !ok {
		names := make([]string, 0, len(p.Gates))
		for _, g := range p.Gates {
			names = append(names, g.Name)
		}
		return Approval{}, fmt.Errorf("the plan has no gate %q; it has %s", gate, strings.Join(names, ", "))
	}
	by = strings.TrimSpace(by)
	if by == "" {
		return Approval{}, fmt.Errorf("an approval needs a name: say who you are with -by")
	}
	if len(g.Approve.By) > 0 && !slices.ContainsFunc(g.Approve.By, Approval{By: by}.by) {
		return Approval{}, fmt.Errorf("gate %q is approved by %s, not by %s: say who you are with -by", gate, strings.Join(g.Approve.By, " or "), by)
	}
	a := Approval{Gate: gate, Plan: p.Digest, By: by, At: now.UTC().Format(time.RFC3339)}
	if g.Approve.Expires > 0 {
		a.Expires = now.Add(g.Approve.Expires).UTC().Format(time.RFC3339)
	}
	for _, ans := range answers {
		if ans.OK {
			a.Held = append(a.Held, ans.Check.String())
		}
		a.Warnings = append(a.Warnings, ans.Warnings...)
	}
	slices.Sort(a.Held)
	slices.Sort(a.Warnings)
	a.Warnings = slices.Compact(a.Warnings)
	a.Evidence = a.evidence()
	return a, nil
}

// skew is how far the clocks of who approves and who applies may be apart.
const skew = 5 * time.Minute

// void returns why the approval counts no longer, "" when it does. notBefore
// is the end of a window that has passed: agreements given before it are void.
func (a Approval) void(p *plan.Plan, g plan.Gate, answers []Answer, now, notBefore time.Time) string {
	at, err := time.Parse(time.RFC3339, a.At)
	if err != nil {
		return fmt.Sprintf("the approval by %s has no readable time", a.By)
	}
	switch {
	case a.Plan != p.Digest:
		return fmt.Sprintf("%s approved another plan", a.By)
	case a.Gate != g.Name:
		return fmt.Sprintf("%s approved the gate %s", a.By, a.Gate)
	case a.Evidence != a.evidence():
		return fmt.Sprintf("the approval by %s was changed after it was given", a.By)
	case len(g.Approve.By) > 0 && !slices.ContainsFunc(g.Approve.By, a.by):
		return fmt.Sprintf("%s is not asked to approve %s", a.By, g.Name)
	case at.After(now.Add(skew)):
		return fmt.Sprintf("the approval by %s is dated %s, which has not come yet: look at the clocks", a.By, a.At)
	case !notBefore.IsZero() && at.Before(notBefore):
		return fmt.Sprintf("%s approved for a window that has closed", a.By)
	}
	if a.Expires != "" || g.Approve.Expires > 0 {
		expires, err := time.Parse(time.RFC3339, a.Expires)
		if latest := at.Add(g.Approve.Expires); g.Approve.Expires > 0 && (err != nil || latest.Before(expires)) {
			expires, err = latest, nil
		}
		if err != nil || !now.Before(expires) {
			return fmt.Sprintf("the approval by %s expired %s", a.By, expires.UTC().Format(time.RFC3339))
		}
	}
	for _, ans := range answers {
		if !ans.OK && slices.Contains(a.Held, ans.Check.String()) {
			return fmt.Sprintf("check %s was true when %s approved and is no longer", ans.Check, a.By)
		}
		for _, w := range ans.Warnings {
			if !slices.Contains(a.Warnings, w) && slices.Contains(a.Held, ans.Check.String()) {
				return fmt.Sprintf("a new warning came after %s approved: %s", a.By, w)
			}
		}
	}
	return ""
}
