package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/state"
)

func newReport(a *app) *cobra.Command {
	var html string
	cmd := &cobra.Command{
		Use:     "report",
		Short:   "The sign-off report: timeline, counts, DNS before and after, approvals",
		Long:    "report is made from the plan, the journal and the manifests; nothing outside is asked.",
		Example: "  mxodus report\n  mxodus report -html report.html",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.signOff(cmd.Context(), html) },
	}
	cmd.Flags().StringVar(&html, "html", "", "write a self-contained page to this `file`")
	return cmd
}

func (a *app) signOff(ctx context.Context, html string) error {
	r, err := a.openRun(ctx, "", false)
	if err != nil {
		return err
	}
	defer r.close()
	rep, err := a.reportOf(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case html != "":
		var b strings.Builder
		if err := render.ReportHTML(&b, rep); err != nil {
			return err
		}
		if err := state.WriteFile(a.path(html), []byte(b.String()), 0o600); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "The report is in %s.\n", render.Escape(html))
		return err
	case a.json:
		return render.ReportJSON(a.stdout, rep)
	}
	return render.ReportText(a.stdout, rep, a.screen())
}

// documents are the report's files for the archive.
func (a *app) documents(ctx context.Context, r *running) (map[string][]byte, error) {
	rep, err := a.reportOf(ctx, r)
	if err != nil {
		return nil, err
	}
	var page, object bytes.Buffer
	if err := errors.Join(render.ReportHTML(&page, rep), render.ReportJSON(&object, rep)); err != nil {
		return nil, err
	}
	return map[string][]byte{"report.html": page.Bytes(), "report.json": object.Bytes()}, nil
}

// reportOf is made from plan, journal and manifests.
func (a *app) reportOf(ctx context.Context, r *running) (render.Report, error) {
	st, err := r.engine.Status()
	if err != nil {
		return render.Report{}, err
	}
	m := r.loaded.Migration
	rep := render.Report{
		Migration: r.plan.Name, Plan: r.plan.Digest, Number: r.plan.Number, Timezone: r.plan.Timezone,
		At: a.clock.Now(), Complete: st.Complete, Source: hostKeys(m.Sources), Target: hostKeys(m.Targets),
	}
	for _, p := range st.Phases {
		rep.Phases = append(rep.Phases, render.PhaseTime{Phase: p.Phase, Start: p.Start, End: p.End})
	}
	sys, err := newSystems(a, r.loaded)
	if err != nil {
		return rep, err
	}
	files := r.engine.Record.State("archive/manifest").Files
	for _, b := range m.Mailboxes {
		box, refused, err := mailboxReport(ctx, sys.copier, b, files)
		if err != nil {
			return rep, err
		}
		rep.Mailboxes = append(rep.Mailboxes, box)
		rep.Quarantine = append(rep.Quarantine, refused...)
	}
	h, err := a.history(ctx, r)
	if err != nil {
		return rep, err
	}
	h.steps(&rep)
	for _, g := range r.plan.Gates {
		gate, err := h.gate(a.dir, g)
		if err != nil {
			return rep, err
		}
		rep.Approvals = append(rep.Approvals, gate)
	}
	rep.Flipped, rep.Late = st.Flipped, lateSenders(st.Late)
	rep.Digests = []render.Digest{{Name: "configuration", Value: r.plan.Config}, {Name: "inventory", Value: r.plan.Inventory}}
	if r.plan.Parent != "" {
		rep.Digests = append(rep.Digests, render.Digest{Name: "plan before it", Value: r.plan.Parent})
	}
	return rep, nil
}

func hostKeys(hosts []plan.Host) string {
	keys := make([]string, len(hosts))
	for i, h := range hosts {
		keys[i] = h.Key()
	}
	return strings.Join(keys, ", ")
}

// addStep reports what a step did to DNS, what a person did, what was compared, what is still open.
func addStep(rep *render.Report, record *apply.Record, s plan.Step) {
	st := record.State(s.Address)
	parts := strings.Split(s.Address, "/")
	switch {
	case parts[0] == "dns" && len(parts) == 4:
		rep.DNS = append(rep.DNS, render.RecordReport{Domain: parts[1], Type: parts[2], Name: parts[3], Before: s.From, After: s.To, At: st.Seen})
	case s.Action == plan.ByHand:
		rep.ByHand = append(rep.ByHand, render.ByHandReport{Step: s.Address, Done: st.Done, How: st.How})
	case strings.HasPrefix(s.Address, "validate/probe/"):
		addProbes(rep, st)
	case parts[0] == "validate":
		rep.Checked = append(rep.Checked, render.CheckedReport{Step: s.Address, Done: st.Done, How: st.How})
	case parts[0] == "notice":
		rep.Notices = append(rep.Notices, render.NoticeReport{Name: parts[1], Recipients: len(st.Sent), At: st.Done})
	}
	switch {
	case st.Drift != nil:
		rep.Open = append(rep.Open, s.Address+": drifted")
	case st.Failed != nil && st.Done.IsZero():
		rep.Open = append(rep.Open, s.Address+": failed: "+st.Failed.Error)
	}
}

// mailboxReport counts the manifest's rows by folder.
func mailboxReport(ctx context.Context, copier *copy.Engine, b plan.Mailbox, files map[string]string) (render.MailboxReport, []render.Quarantined, error) {
	rep := render.MailboxReport{Source: b.Source, Target: b.Target}
	folders := map[string]*render.FolderReport{}
	var refused []render.Quarantined
	err := copier.Rows(ctx, b, func(row copy.Row) error {
		if row.Vanished && row.State != "claimed" {
			return nil // deleted at the source before it was copied
		}
		f := folders[row.Folder]
		if f == nil {
			f = &render.FolderReport{Source: row.Folder, Target: row.Target}
			folders[row.Folder] = f
		}
		f.Messages++
		rep.Messages++
		switch row.State {
		case "claimed":
			f.Copied++
			rep.Copied++
			rep.Octets += row.Size
		case "quarantined":
			rep.Quarantined++
			refused = append(refused, render.Quarantined{Mailbox: b.Source, Folder: row.Folder, UID: row.UID, Octets: row.Size, Reason: row.Reason, File: row.File})
		}
		return nil
	})
	for _, f := range folders {
		rep.Folders = append(rep.Folders, *f)
	}
	slices.SortFunc(rep.Folders, func(x, y render.FolderReport) int { return strings.Compare(x.Source, y.Source) })
	for name, sum := range files {
		if strings.Contains(name, b.Source) {
			rep.Manifest, rep.SHA256 = name, sum
		}
	}
	return rep, refused, err
}
