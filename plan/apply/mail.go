package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// pass runs one pass over the step's mailbox and journals what it did.
func (e *Engine) pass(ctx context.Context, steps []plan.Step) error {
	s := steps[0]
	m, ok := e.Migration.MailboxAt(mailboxOf(s))
	if !ok {
		return fmt.Errorf("%s: the configuration holds no such mailbox any more: plan again", s.Address)
	}
	if st := e.Record.State(s.Address); st.Started.IsZero() {
		if err := e.note(ctx, stepEntry(s.Address, evStarted, entryData{})); err != nil {
			return err
		}
	}
	mu := e.busy.of(m.Source)
	mu.Lock()
	defer mu.Unlock()
	return e.onePass(ctx, s, m)
}

// onePass runs a pass for step s and journals it. The caller has the mailbox to itself.
func (e *Engine) onePass(ctx context.Context, s plan.Step, m plan.Mailbox) error {
	mode := e.Record.mode()
	if kindOf(s) == "carry_back" {
		mode = providers.CarryBack
	}
	began := e.Clock.Now()
	result, err := e.Systems.Copier().Pass(ctx, providers.PassSpec{
		Mailbox: m, Mode: mode, Stop: e.Stop,
		Progress: func(p providers.Progress) {
			p.Mailbox = m.Source
			e.emit(Event{Type: "progress", Phase: s.Phase, Step: s.Address, Progress: &p})
		},
	})
	if err != nil {
		return err
	}
	b, err := json.Marshal(passEntry{Mode: mode, Began: began, Result: result})
	if err != nil {
		return err
	}
	if err := e.note(ctx, state.Entry{Step: s.Address, Event: evPass, Data: b}); err != nil {
		return err
	}
	if mode == providers.AfterFlip && result.Copied+result.Quarantined > 0 {
		return e.noteStragglers(ctx, m)
	}
	return nil
}

// errValidation says that something was compared and is not as it has to be.
var errValidation = errors.New("validation failed")

func (e *Engine) validate(ctx context.Context, steps []plan.Step) error {
	s := steps[0]
	parts := strings.SplitN(s.Address, "/", 3)
	if len(parts) != 3 {
		return fmt.Errorf("%s is no address of a validation", s.Address)
	}
	switch parts[1] {
	case "mail":
		return e.validateMail(ctx, s, parts[2])
	case "dns":
		return e.validateDNS(ctx, s, parts[2])
	case "autodiscover":
		return e.validateAutodiscover(ctx, s, parts[2])
	case "probe":
		return e.probeStep(ctx, steps)
	}
	return fmt.Errorf("%s: this mxodus can't validate that: use the version that wrote the plan", s.Address)
}

// validateMail holds both sides of a mailbox against the manifest. Over the
// allowed difference one more pass is made first; then it is compared again.
func (e *Engine) validateMail(ctx context.Context, s plan.Step, address string) error {
	m, ok := e.Migration.MailboxAt(address)
	if !ok {
		return fmt.Errorf("%s: the configuration holds no such mailbox any more: plan again", s.Address)
	}
	mu := e.busy.of(m.Source)
	mu.Lock()
	defer mu.Unlock()
	copier := e.Systems.Copier()
	c, err := copier.Compare(ctx, m)
	if err != nil {
		return err
	}
	again := ""
	if e.overLimit(c) {
		if err := e.extraPass(ctx, m); err != nil {
			return err
		}
		if c, err = copier.Compare(ctx, m); err != nil {
			return err
		}
		again = " after one more pass"
	}
	if e.overLimit(c) {
		return fmt.Errorf("%w: %s: %d of %d messages are not at the target%s, more than %.3g %%: %s",
			errValidation, address, missing(c), c.Source, again, 100*e.Migration.Validation.MaxDifference, strings.Join(head(c.Missing, 5), "; "))
	}
	how := fmt.Sprintf("%d of %d there, %d in quarantine, %d left out%s", c.Target, c.Source, c.Quarantined, c.LeftOut, again)
	if slices.ContainsFunc(e.sample(), func(x plan.Mailbox) bool { return x.Source == m.Source }) {
		words, complaint, err := e.countFolders(ctx, m, c)
		switch {
		case err != nil:
			return err
		case complaint != "":
			return fmt.Errorf("%w: %s: %s", errValidation, address, complaint)
		case words != "":
			how += "; " + words
		}
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: how}))
}

// extraPass makes one more delta pass over a mailbox that the caller has to itself.
func (e *Engine) extraPass(ctx context.Context, m plan.Mailbox) error {
	if step, ok := e.Plan.Step("delta/" + m.Source); ok {
		return e.onePass(ctx, step, m)
	}
	_, err := e.Systems.Copier().Pass(ctx, providers.PassSpec{Mailbox: m, Mode: providers.AfterFlip, Stop: e.Stop})
	return err
}

// overLimit leaves out what is in quarantine: that is listed, and a person decides.
func (e *Engine) overLimit(c providers.Comparison) bool {
	return float64(missing(c)) > e.Migration.Validation.MaxDifference*float64(c.Source)
}

func missing(c providers.Comparison) int { return max(0, c.Source-c.Target-c.Quarantined) }

func head(list []string, n int) []string { return list[:min(n, len(list))] }

// validateDNS asks every authoritative server for every record that the flip
// published.
func (e *Engine) validateDNS(ctx context.Context, s plan.Step, domain string) error {
	var wrong []string
	n := 0
	for _, flip := range e.outlook().steps(plan.Flip) {
		d, err := parseDNS(flip.Address)
		if err != nil || d.domain != domain {
			continue
		}
		want, err := plan.ParseRRset(d.fqdn(), d.typ, flip.To)
		if err != nil {
			return err
		}
		seen, err := e.survey(ctx, d, want, false)
		if err != nil {
			return err
		}
		for _, v := range seen {
			n++
			// The TTL is raised again in the hold.
			if why := v.problem(); why != "" && !(v.answers() && v.set.SameData(want)) {
				wrong = append(wrong, fmt.Sprintf("%s %s: %s", want.Name, want.Type, why))
			}
		}
	}
	words, refused := e.refusedByNewMX(ctx, domain)
	if wrong = append(wrong, refused...); len(wrong) > 0 {
		return fmt.Errorf("%w: %s: %s", errValidation, domain, strings.Join(wrong, "; "))
	}
	how := fmt.Sprintf("%d answers as planned", n)
	if words != "" {
		how += "; " + words
	}
	if side := e.otherChanges(ctx, domain); len(side) > 0 {
		how += fmt.Sprintf("; beside the flip %d record sets have changed since its snapshot: %s", len(side), strings.Join(head(side, 5), "; "))
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: how}))
}

// otherChanges are the records of the zone that differ from the snapshot before the flip
// and are not the plan's.
func (e *Engine) otherChanges(ctx context.Context, domain string) []string {
	zone, err := e.Systems.Zone(domain)
	if err != nil {
		return nil
	}
	var list []record
	for _, s := range e.Plan.Steps {
		at, err := parseDNS(s.Address)
		if err != nil || at.domain != domain || unknown(s) {
			continue
		}
		if r, err := planned(s, at); err == nil {
			list = append(list, r)
		}
	}
	return e.sinceSnapshot(ctx, zone, domain, list)
}

// archive writes each mailbox's manifest to archive/, with what Documents gives beside them, and keeps the digests,
// beside the files in the form that sha256sum -c reads.
func (e *Engine) archive(ctx context.Context, steps []plan.Step) error {
	dir := filepath.Join(e.Dir, "archive")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files := map[string]string{}
	for _, m := range e.Migration.Mailboxes {
		name, sum, err := e.Systems.Copier().Export(ctx, m, dir)
		if err != nil {
			return err
		}
		files[name] = sum
	}
	if e.Documents != nil {
		documents, err := e.Documents(ctx)
		if err != nil {
			return fmt.Errorf("write the report for the archive: %w", err)
		}
		for name, text := range documents {
			if err := state.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			files[name] = hex.EncodeToString(sum[:])
		}
	}
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&sums, "%s  %s\n", files[name], name)
	}
	if err := state.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o600); err != nil {
		return err
	}
	a := steps[0].Address
	return e.note(ctx, stepEntry(a, evArchived, entryData{Files: files}),
		stepEntry(a, evDone, entryData{How: fmt.Sprintf("%d files", len(files))}))
}

// fileDigest is the SHA-256 of a file in hex.
func fileDigest(elem ...string) (string, error) {
	f, err := os.Open(filepath.Join(elem...))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
