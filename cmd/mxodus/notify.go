package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/notice"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

// notifyOptions are the flags of notify.
type notifyOptions struct {
	preview  bool
	to, html string
}

func newNotify(a *app) *cobra.Command {
	var o notifyOptions
	cmd := &cobra.Command{
		Use:   "notify [NAME]",
		Short: "Show notices: what each says, and to whom it was sent",
		Long: "notify lists the notices of the configuration and, from the journal, who has got them. It\n" +
			"sends nothing: apply does, at the notice's time, once to each recipient. With -preview\n" +
			"it shows the message as a recipient will get it; no plan is needed for that.",
		Example: "  mxodus notify -preview users -to anna@acme.example\n  mxodus notify -preview users -html preview.html",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.notify(cmd.Context(), strings.Join(args, ""), o)
		},
	}
	cmd.Flags().BoolVar(&o.preview, "preview", false, "show the message as it will be sent")
	cmd.Flags().StringVar(&o.to, "to", "", "to this `address` (default: the first recipient)")
	cmd.Flags().StringVar(&o.html, "html", "", "write the HTML that is sent along to this `file`")
	return cmd
}

func (a *app) notify(ctx context.Context, name string, o notifyOptions) error {
	if !o.preview && (o.to != "" || o.html != "") {
		return usage("-to and -html go with -preview")
	}
	loaded, err := a.load()
	if err != nil {
		return err
	}
	m := loaded.Migration
	var list []plan.NoticeConfig
	var names []string
	for _, n := range m.Notices {
		names = append(names, n.Name)
		if name == "" || name == n.Name {
			list = append(list, n)
		}
	}
	if len(list) == 0 && name != "" {
		return usage("there is no notice %q; there are %s", name, strings.Join(names, ", "))
	}
	if o.preview {
		return a.preview(m, list, o)
	}
	return a.sentNotices(ctx, m, list)
}

// previewJSON is one message of `notify -preview -json`.
type previewJSON struct {
	Notice  string `json:"notice"`
	From    string `json:"from"`
	To      string `json:"to"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	HTML    string `json:"html,omitempty"`
}

func (a *app) preview(m *plan.Migration, list []plan.NoticeConfig, o notifyOptions) error {
	list = slices.DeleteFunc(list, func(n plan.NoticeConfig) bool { return n.URL != "" })
	if len(list) == 0 {
		return usage("there is no mail to preview: a webhook gets JSON, see docs/commands.md")
	}
	if o.html != "" && len(list) > 1 {
		return usage("-html is of one notice: name it")
	}
	shown := 0
	for _, n := range list {
		to := o.to
		if to == "" && len(n.To) > 0 {
			to = n.To[0]
		}
		if !slices.ContainsFunc(n.To, func(x string) bool { return strings.EqualFold(x, to) }) {
			if len(list) > 1 {
				continue // somebody whom another notice is for
			}
			return usage("the notice %q doesn't go to %q; it goes to %s", n.Name, to, recipientsOf(n.To))
		}
		shown++
		facts := notice.About(m, to)
		p := previewJSON{Notice: n.Name, To: to, Subject: facts.Fill(n.Subject), Text: facts.Fill(n.Body), HTML: facts.FillHTML(n.HTML)}
		for _, s := range m.SMTP {
			if s.Name == n.Via {
				p.From = s.From
			}
		}
		if o.html != "" {
			if p.HTML == "" {
				return usage("the notice %q has no HTML: put a file .html beside its template", n.Name)
			}
			if err := state.WriteFile(a.path(o.html), []byte(p.HTML), 0o600); err != nil {
				return err
			}
		}
		if err := a.showPreview(m, n, p, o.html); err != nil {
			return err
		}
	}
	if shown == 0 {
		return usage("no notice goes to %q", o.to)
	}
	return nil
}

func recipientsOf(list []string) string {
	if n := len(list) - 5; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:5], ", "), n)
	}
	return strings.Join(list, ", ")
}

func (a *app) showPreview(m *plan.Migration, n plan.NoticeConfig, p previewJSON, file string) error {
	if a.json {
		return a.writeJSON(p)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Notice   %s, %s, to %s\n", render.Escape(n.Name), render.Escape(occasion(n)), counted(len(n.To), "recipient", "recipients"))
	fmt.Fprintf(&b, "From     %s\nTo       %s\nSubject  %s\n\n", render.Escape(p.From), render.Escape(p.To), render.Escape(p.Subject))
	for line := range strings.Lines(p.Text) {
		fmt.Fprintf(&b, "  %s\n", render.Escape(strings.TrimRight(line, "\r\n")))
	}
	switch {
	case file != "":
		fmt.Fprintf(&b, "\nThe HTML that goes along is in %s.\n", render.Escape(file))
	case p.HTML != "":
		fmt.Fprintf(&b, "\nHTML goes along: -html FILE writes it.\n")
	default:
		fmt.Fprintf(&b, "\nNo HTML goes along: a file .html beside the template would.\n")
	}
	_, err := fmt.Fprintln(a.stdout, b.String())
	return err
}

// occasion is when a notice goes out, as the configuration says it.
func occasion(n plan.NoticeConfig) string {
	if len(n.On) > 0 {
		return "on " + strings.Join(n.On, ", ")
	}
	return "at " + n.At.String()
}

// sentJSON is one notice of `notify -json`.
type sentJSON struct {
	Notice     string     `json:"notice"`
	Occasion   string     `json:"occasion"`
	Recipients int        `json:"recipients"`
	Sent       []handedIn `json:"sent"`
	Unsure     []string   `json:"unsure"` // handed in without an answer: they may have got it
	Open       []string   `json:"open"`
	Webhook    bool       `json:"webhook"`
}

type handedIn struct {
	To      string    `json:"to"`
	Receipt string    `json:"receipt,omitempty"` // what the server said
	At      time.Time `json:"at"`
}

// sentNotices lists the notices and, where there is a journal, who has got them.
func (a *app) sentNotices(ctx context.Context, m *plan.Migration, list []plan.NoticeConfig) error {
	out := make([]sentJSON, len(list))
	for i, n := range list {
		out[i] = sentJSON{Notice: n.Name, Occasion: occasion(n), Recipients: len(n.To), Sent: []handedIn{}, Unsure: []string{}, Open: []string{}, Webhook: n.URL != ""}
	}
	if path, err := a.currentPlan(ctx); err == nil && state.Exists(a.dir) {
		r, err := a.openRun(ctx, path, false)
		if err != nil {
			return err
		}
		defer r.close()
		for i, n := range list {
			st := r.engine.Record.State("notice/" + n.Name)
			for _, to := range n.To {
				switch {
				case !st.Sent[to].IsZero():
					out[i].Sent = append(out[i].Sent, handedIn{to, st.Receipts[to], st.Sent[to]})
				case !st.Sending[to].IsZero():
					out[i].Unsure = append(out[i].Unsure, to)
				default:
					out[i].Open = append(out[i].Open, to)
				}
			}
		}
	}
	if a.json {
		return a.writeJSON(out)
	}
	var b strings.Builder
	loc, err := time.LoadLocation(m.Timezone)
	if err != nil {
		loc = time.UTC
	}
	for _, n := range out {
		switch {
		case n.Webhook:
			fmt.Fprintf(&b, "%s  %s, to a webhook\n", render.Escape(n.Notice), n.Occasion)
			continue
		case strings.HasPrefix(n.Occasion, "on "):
			fmt.Fprintf(&b, "%s  %s, to %s\n", render.Escape(n.Notice), n.Occasion, counted(n.Recipients, "recipient", "recipients"))
			continue
		}
		fmt.Fprintf(&b, "%s  %s: %d of %d sent\n", render.Escape(n.Notice), n.Occasion, len(n.Sent), n.Recipients)
		for _, s := range n.Sent {
			fmt.Fprintf(&b, "     sent    %s  %s  %s\n", s.At.In(loc).Format("Mon 2 Jan 15:04:05 MST"), render.Escape(s.To), render.Escape(s.Receipt))
		}
		for _, to := range n.Unsure {
			fmt.Fprintf(&b, "     unsure  %s: the server ended the connection before it answered, and it is not sent twice; ask whether it arrived\n", render.Escape(to))
		}
	}
	if len(out) == 0 {
		fmt.Fprintln(&b, "The configuration holds no notices.")
	}
	_, err = fmt.Fprint(a.stdout, b.String())
	return err
}
