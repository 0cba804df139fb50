package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

// The page: a template, a style and a script, all in the program.
//
//go:embed serve
var serveFiles embed.FS

var servePage = template.Must(template.New("").Funcs(template.FuncMap{
	"esc":   shown,
	"count": func(n int) string { return render.Count(int64(n)) },
	"size":  render.Size,
}).ParseFS(serveFiles, "serve/*.tmpl"))

// journalShown is how many of the journal's entries the page has, newest first.
const journalShown = 200

// page makes what browsers see. Reading is shared: however many look, the journal is read
// once a second at most.
type page struct {
	app     *app
	observe bool // ask name servers

	mu   sync.Mutex
	made time.Time
	live []byte // the part that changes
	json []byte
	tag  string
	err  error

	servers nameServerWatch
}

func (p *page) handler() http.Handler {
	files, err := fs.Sub(serveFiles, "serve")
	if err != nil {
		panic("the page is not in the program: " + err.Error())
	}
	mux := http.NewServeMux()
	for name, typ := range map[string]string{"page.js": "text/javascript; charset=utf-8", "page.css": "text/css; charset=utf-8"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", typ)
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		live, _, tag, err := p.read(r.Context())
		var b bytes.Buffer
		if terr := servePage.ExecuteTemplate(&b, "page.html.tmpl", map[string]any{"Live": template.HTML(live), "Tag": tag, "Error": words(err)}); terr != nil {
			http.Error(w, "The page can't be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes())
	})
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		live, _, tag, err := p.read(r.Context())
		if err != nil {
			http.Error(w, words(err), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(live)
	})
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) {
		_, status, _, err := p.read(r.Context())
		if err != nil {
			http.Error(w, words(err), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(status)
	})
	return mux
}

// words are an error's, without the way they came.
func words(err error) string {
	if err == nil {
		return ""
	}
	return shown(err.Error())
}

// read returns the live part, status -json, and a tag that changes with them.
func (p *page) read(ctx context.Context) (live, status []byte, tag string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.app.clock.Now(); p.made.IsZero() || now.Sub(p.made) >= time.Second || now.Before(p.made) {
		// Another browser may wait for this, too.
		p.make(context.WithoutCancel(ctx))
		p.made = p.app.clock.Now()
	}
	return p.live, p.json, p.tag, p.err
}

func (p *page) make(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, status, err := p.view(ctx)
	if err != nil {
		p.err = err
		return
	}
	var b, j bytes.Buffer
	if p.err = servePage.ExecuteTemplate(&b, "live.html.tmpl", v); p.err != nil {
		return
	}
	if p.err = render.StatusJSON(&j, status); p.err != nil {
		return
	}
	sum := sha256.Sum256(b.Bytes())
	p.live, p.json, p.tag = b.Bytes(), j.Bytes(), `"`+hex.EncodeToString(sum[:8])+`"`
}

// view is what the template shows. All times are in the migration's zone.
type view struct {
	Migration, Plan, Where, Next, Who, Command, Running string
	Number                                              int
	Done, Total, Percent                                int
	Complete                                            bool
	Phases                                              []viewPhase
	Mailboxes                                           []viewMailbox
	Sum                                                 viewMailbox
	Blocked                                             []render.Blocker
	Failures                                            []render.Failure
	Drift                                               []render.Drift
	ToDo                                                []render.ToDo
	Unsure                                              []string
	Records                                             []viewRecord
	Servers                                             []string
	Observed                                            string
	Journal                                             []viewEntry
	Zone                                                string
}

type viewPhase struct {
	Title, Starts, Ends, Steps, State string // state: "done", "now", ""
}

type viewMailbox struct {
	Address, Note, LastPass string
	Messages, Copied        int
	Quarantined, Doubt      int
	Octets                  int64
	Percent                 int
}

type viewEntry struct{ At, Step, Event, Text string }

func (p *page) view(ctx context.Context) (view, render.Status, error) {
	r, err := p.app.openRun(ctx, "", false)
	if err != nil {
		return view{}, render.Status{}, err
	}
	defer r.close()
	st, err := r.engine.Status()
	if err != nil {
		return view{}, render.Status{}, err
	}
	running := ""
	if held, err := r.db.Held(); err == nil && held {
		if h, err := r.db.Holder(ctx); err == nil {
			running = fmt.Sprintf("%s, process %d on %s", h.Command, h.PID, h.Host)
		}
	}
	s := p.app.statusView(r, st, running)
	cal := newPageCalendar(s)
	v := view{
		Migration: s.Migration, Plan: strings.TrimPrefix(s.Plan, "sha256:"), Number: s.Number, Running: s.Running, Complete: s.Complete,
		Done: s.Steps.Done, Total: s.Steps.Total, Percent: percentOf(s.Steps.Done, s.Steps.Total),
		Blocked: s.BlockedBy, Failures: s.Failures, Drift: s.Drift, ToDo: s.ToDo, Unsure: s.Unsure, Zone: cal.loc.String(),
	}
	v.Plan = v.Plan[:min(8, len(v.Plan))]
	v.where(s, cal)
	for _, ph := range s.Phases {
		row := viewPhase{Title: phaseName(ph.Phase), Starts: cal.at(ph.Start), Ends: cal.until(ph.Start, ph.End), Steps: fmt.Sprintf("%d of %d", ph.Done, ph.Total)}
		switch {
		case ph.Complete:
			row.State = "done"
		case ph.Phase == s.Phase:
			row.State = "now"
		}
		if ph.Total == 0 {
			row.Steps = "–"
		}
		v.Phases = append(v.Phases, row)
	}
	for _, m := range s.Mailboxes {
		row := viewMailbox{Address: m.Address, Note: m.Note, LastPass: cal.at(m.LastPass), Messages: m.Messages, Copied: m.Copied, Quarantined: m.Quarantined, Doubt: m.Doubt, Octets: m.Octets, Percent: percentOf(m.Copied, m.Messages)}
		v.Mailboxes = append(v.Mailboxes, row)
		v.Sum.Messages += m.Messages
		v.Sum.Copied += m.Copied
		v.Sum.Quarantined += m.Quarantined
		v.Sum.Doubt += m.Doubt
		v.Sum.Octets += m.Octets
	}
	v.Sum.Percent = percentOf(v.Sum.Copied, v.Sum.Messages)
	entries, err := r.db.Entries(ctx, 0)
	if err != nil {
		return view{}, s, err
	}
	for _, e := range slices.Backward(entries) {
		if len(v.Journal) == journalShown {
			break
		}
		v.Journal = append(v.Journal, viewEntry{At: e.At.In(cal.loc).Format("2 Jan 15:04:05"), Step: e.Step, Event: e.Event, Text: entryText(e)})
	}
	if p.observe {
		v.Records, v.Servers, v.Observed = p.servers.look(ctx, p.app, r.loaded.Migration, r.plan, cal.loc)
	}
	return v, s, nil
}

// where says where the migration is and what it waits for.
func (v *view) where(s render.Status, cal pageCalendar) {
	phase := phaseName(s.Phase)
	switch {
	case s.Complete:
		v.Where = "complete"
	case s.Since.IsZero():
		v.Where = phase + " has not begun"
	default:
		v.Where = "in " + phase + " since " + cal.at(s.Since)
	}
	switch n := s.Next; {
	case s.Complete:
	case n == nil && s.Running != "":
		v.Next = "working"
	case n == nil:
		v.Next, v.Command = "something is due now", "mxodus apply"
	default:
		v.Next = map[string]string{"time": "waits for its time", "ttl": "waits for old records to expire from caches", "approval": "waits for an approval",
			"by_hand": "waits for a person", "check": "waits for a check that says no"}[n.Kind]
		if v.Next == "" {
			v.Next = "waits for " + n.Kind
		}
		if n.Step != "" {
			v.Next = n.Step + " " + v.Next
		}
		if n.Gate != "" {
			v.Next += ", gate " + n.Gate
		}
		if !n.Until.IsZero() {
			v.Next += ", until " + cal.at(n.Until)
		}
		v.Who = n.Who
		if n.Kind == "approval" && n.Gate != "" {
			v.Command = "mxodus approve " + n.Gate
		}
	}
}

// pageCalendar writes times in the migration's zone, with seconds where a phase is over within a minute.
type pageCalendar struct {
	loc  *time.Location
	form string
}

func newPageCalendar(s render.Status) pageCalendar {
	loc, err := time.LoadLocation(s.Timezone)
	if err != nil {
		loc = time.UTC
	}
	c := pageCalendar{loc, "Mon 2 Jan 15:04"}
	for i, p := range s.Phases {
		if i > 0 && !p.Start.IsZero() && p.Start.Sub(s.Phases[0].Start).Abs() < time.Hour && p.Phase == plan.Flip {
			c.form = "Mon 2 Jan 15:04:05"
		}
	}
	return c
}

// until is the end of what begins at start: without its day when it is the same.
func (c pageCalendar) until(start, end time.Time) string {
	day := "2006-01-02"
	if start.IsZero() || end.IsZero() || start.In(c.loc).Format(day) != end.In(c.loc).Format(day) {
		return c.at(end)
	}
	return end.In(c.loc).Format(strings.TrimPrefix(c.form, "Mon 2 Jan "))
}

// phaseName is a phase as people say it.
func phaseName(p plan.Phase) string {
	if p == plan.LowerTTL {
		return "lower TTL"
	}
	return strings.ReplaceAll(string(p), "_", " ")
}

func (c pageCalendar) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(c.loc).Format(c.form)
}

func percentOf(part, whole int) int {
	if whole <= 0 {
		return 0
	}
	return part * 100 / whole
}

// entryText is an entry's data as people read it: what is set, in the order of its names, cut where it gets long.
func entryText(e state.Entry) string {
	var fields map[string]any
	if json.Unmarshal(e.Data, &fields) != nil {
		return ""
	}
	text := []rune(said(fields))
	if len(text) > 240 {
		return string(text[:240]) + "…"
	}
	return string(text)
}

// said lists the fields that say something; digests and what is empty don't.
func said(fields map[string]any) string {
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var parts []string
	for _, k := range keys {
		word := strings.ToLower(k)
		text := ""
		switch v := fields[k].(type) {
		case string:
			if strings.HasPrefix(v, "sha256:") || word == "began" {
				continue
			}
			text = v
		case float64:
			if v != 0 {
				text = strconv.FormatFloat(v, 'f', -1, 64)
			}
		case bool:
			if v {
				parts = append(parts, word)
			}
		case []any:
			var list []string
			for _, x := range v {
				if m, ok := x.(map[string]any); ok {
					list = append(list, said(m))
				} else {
					list = append(list, fmt.Sprint(x))
				}
			}
			text = strings.Join(list, "; ")
		case map[string]any:
			if inner := said(v); inner != "" {
				parts = append(parts, inner)
			}
		}
		if text != "" {
			parts = append(parts, word+" "+text)
		}
	}
	return strings.Join(parts, ", ")
}
