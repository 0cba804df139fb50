package render

import (
	"io"
	"time"

	"github.com/mxodus/mxodus/plan"
)

type reportJSON struct {
	Migration  string                `json:"migration"`
	Source     string                `json:"source"`
	Target     string                `json:"target"`
	Plan       string                `json:"plan"`
	Number     int                   `json:"number"`
	At         time.Time             `json:"at"`
	Complete   bool                  `json:"complete"`
	Phases     []phaseTimeJSON       `json:"phases"`
	Mailboxes  []mailboxReportJSON   `json:"mailboxes"`
	DNS        []recordReportJSON    `json:"dns"`
	Quarantine []quarantinedJSON     `json:"quarantine"`
	ByHand     []byHandReportJSON    `json:"by_hand"`
	Approvals  []approvalReportJSON  `json:"approvals"`
	Notices    []noticeReportJSON    `json:"notices"`
	Open       []string              `json:"open"`
	Totals     mailboxReportJSONBare `json:"totals"`
	Flipped    *time.Time            `json:"flipped"`
	Digests    map[string]string     `json:"digests"`
	Validation []checkedReportJSON   `json:"validation"`
	Probes     []probeReportJSON     `json:"probes"`
	Late       []lateSenderJSON      `json:"stragglers"` // hosts that sent mail to the old MX after the flip
}

type phaseTimeJSON struct {
	Phase  plan.Phase `json:"phase"`
	Starts *time.Time `json:"starts"`
	Ends   *time.Time `json:"ends"`
}

type mailboxReportJSONBare struct {
	Messages    int   `json:"messages"`
	Copied      int   `json:"copied"`
	Quarantined int   `json:"quarantined"`
	LeftOut     int   `json:"left_out"`
	Missing     int   `json:"missing"`
	Octets      int64 `json:"octets"`
}

type mailboxReportJSON struct {
	Source string `json:"source"`
	Target string `json:"target"`
	mailboxReportJSONBare
	Folders  []folderReportJSON `json:"folders"`
	Manifest string             `json:"manifest,omitempty"`
	SHA256   string             `json:"sha256,omitempty"`
}

type folderReportJSON struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Messages int    `json:"messages"`
	Copied   int    `json:"copied"`
}

type recordReportJSON struct {
	Domain string     `json:"domain"`
	Type   string     `json:"type"`
	Name   string     `json:"name"`
	Before []string   `json:"before"`
	After  []string   `json:"after"`
	At     *time.Time `json:"at"`
}

type quarantinedJSON struct {
	Mailbox string `json:"mailbox"`
	Folder  string `json:"folder"`
	UID     uint32 `json:"uid"`
	Octets  int64  `json:"octets"`
	Reason  string `json:"reason"`
	File    string `json:"file"`
}

type byHandReportJSON struct {
	Step string     `json:"step"`
	Done *time.Time `json:"done"`
	How  string     `json:"how,omitempty"`
}

type approvalReportJSON struct {
	Gate   string       `json:"gate"`
	By     []string     `json:"by"`
	Opened *time.Time   `json:"opened"`
	Checks []string     `json:"checks"`
	Agreed []agreedJSON `json:"agreed"`
}

type agreedJSON struct {
	By      string     `json:"by"`
	At      *time.Time `json:"at"`
	Expires *time.Time `json:"expires"`
	Number  int        `json:"number"`
	Plan    string     `json:"plan"`
}

type checkedReportJSON struct {
	Step string     `json:"step"`
	Done *time.Time `json:"done"`
	How  string     `json:"how,omitempty"`
}

type probeReportJSON struct {
	Probe  string     `json:"probe"`
	Way    string     `json:"way"` // "in": by the new MX, "old": by the old one, "out": to the outside
	From   string     `json:"from"`
	To     string     `json:"to"`
	ID     string     `json:"message_id"`
	Sent   *time.Time `json:"sent"`
	Done   *time.Time `json:"done"`
	OK     bool       `json:"ok"`
	Words  []string   `json:"words"`
	Failed string     `json:"failed,omitempty"`
}

type noticeReportJSON struct {
	Name       string     `json:"name"`
	Recipients int        `json:"recipients"`
	At         *time.Time `json:"at"`
}

func bare(m MailboxReport) mailboxReportJSONBare {
	return mailboxReportJSONBare{m.Messages, m.Copied, m.Quarantined, m.LeftOut, m.Missing(), m.Octets}
}

// ReportJSON writes the report as one JSON object.
func ReportJSON(w io.Writer, r Report) error {
	out := reportJSON{
		Migration: r.Migration, Source: r.Source, Target: r.Target, Plan: r.Plan, Number: r.Number, At: r.At, Complete: r.Complete,
		Phases: []phaseTimeJSON{}, Mailboxes: []mailboxReportJSON{}, DNS: []recordReportJSON{}, Quarantine: []quarantinedJSON{},
		ByHand: []byHandReportJSON{}, Approvals: []approvalReportJSON{}, Notices: []noticeReportJSON{}, Open: list(r.Open), Totals: bare(r.totals()),
		Flipped: known(r.Flipped), Digests: map[string]string{}, Validation: []checkedReportJSON{}, Probes: []probeReportJSON{}, Late: lateSendersJSON(r.Late),
	}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, phaseTimeJSON{p.Phase, known(p.Start), known(p.End)})
	}
	for _, m := range r.Mailboxes {
		j := mailboxReportJSON{Source: m.Source, Target: m.Target, mailboxReportJSONBare: bare(m), Folders: []folderReportJSON{}, Manifest: m.Manifest, SHA256: m.SHA256}
		for _, f := range m.Folders {
			j.Folders = append(j.Folders, folderReportJSON(f))
		}
		out.Mailboxes = append(out.Mailboxes, j)
	}
	for _, d := range r.DNS {
		out.DNS = append(out.DNS, recordReportJSON{d.Domain, d.Type, d.Name, list(d.Before), list(d.After), known(d.At)})
	}
	for _, q := range r.Quarantine {
		out.Quarantine = append(out.Quarantine, quarantinedJSON(q))
	}
	for _, b := range r.ByHand {
		out.ByHand = append(out.ByHand, byHandReportJSON{b.Step, known(b.Done), b.How})
	}
	for _, a := range r.Approvals {
		gate := approvalReportJSON{a.Gate, list(a.By), known(a.Opened), list(a.Checks), []agreedJSON{}}
		for _, g := range a.Agreed {
			gate.Agreed = append(gate.Agreed, agreedJSON{g.By, known(g.At), known(g.Expires), g.Number, g.Plan})
		}
		out.Approvals = append(out.Approvals, gate)
	}
	for _, n := range r.Notices {
		out.Notices = append(out.Notices, noticeReportJSON{n.Name, n.Recipients, known(n.At)})
	}
	for _, d := range r.Digests {
		out.Digests[d.Name] = d.Value
	}
	for _, c := range r.Checked {
		out.Validation = append(out.Validation, checkedReportJSON{c.Step, known(c.Done), c.How})
	}
	for _, p := range r.Probes {
		out.Probes = append(out.Probes, probeReportJSON{p.Probe, p.Way, p.From, p.To, p.ID, known(p.Sent), known(p.Done), p.Failed == "" && !p.Done.IsZero(), list(p.Words), p.Failed})
	}
	return writeJSON(w, out)
}
