package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// acting is what a terminal would act on: it clears the screen, sets the title, writes to the clipboard, makes a link, colours by
// C1, turns and hides text; and what a browser would.
const acting = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b]8;;https://evil.example\x1b\\\u009b31m\u202e\u2066\u200b\u2028\"><img src=x onerror=alert(1)>"

// TestWordsOfOthersOnEveryScreen is a whole migration in which folders, subjects, Message-IDs, senders, recipients, records of the zone and the words
// of servers that refuse hold what terminals and browsers act on. Nothing that a command prints, off a terminal
// and on one, acts on a terminal, and no page has an element of theirs.
func TestWordsOfOthersOnEveryScreen(t *testing.T) {
	t.Parallel()
	w := startWorldOn(t, servers{people: 3}, oldZone+"evil TXT \"\\027[2J\\027]0;owned\\007\\155\" \"v=spf1 \\027[31m\"\n")
	const anna = "anna@acme.example"
	date := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	var mails []imaptest.GeneratedMail
	for i, folder := range []string{"INBOX", "Work " + acting, "Work/" + strings.ReplaceAll(acting, "/", "")} {
		mails = append(mails, imaptest.GeneratedMail{Folder: strings.TrimSuffix(folder, "/"), Date: date, Octets: fmt.Appendf(nil,
			"From: \"%s\" <a@other.example>\r\nTo: nobody%d%s@acme.example, nobody@acme.example\r\nDelivered-To: gone%d@acme.example\r\nSubject: %s\r\nMessage-ID: <evil%d%s@other.example>\r\n\r\n%s\r\n",
			acting, i, "\x1b[2J", i, acting, i, "\x1b[2J\u202e", acting)})
	}
	w.source.fill(t, anna, mails)
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, acting, http.StatusForbidden) }))
	t.Cleanup(hook.Close)

	f := w.migration(pace{lead: 8 * time.Second, provision: 7 * time.Second, notice: 3 * time.Second, repeat: 3 * time.Second, delta: time.Second, hold: 2 * time.Second})
	f.write("acme.mx.hcl", f.read("acme.mx.hcl")+fmt.Sprintf("\nnotify \"team\" {\n  on  = [\"gate.waiting\", \"step.failed\", \"phase.done\"]\n  url = \"%s\"\n}\n", hook.URL))
	commands := 0
	shown := func(args ...string) string {
		out := f.any(args...)
		control(t, out, strings.Join(args, " "))
		commands++
		return out
	}
	const file = "plans/0001.plan"
	look := func() (all string) {
		for _, args := range [][]string{
			{"validate"}, {"doctor"}, {"doctor", "-json"}, {"discover"}, {"discover", "-json"}, {"discover", "-generate"}, {"plan"}, {"plan", "-json"}, {"plan", "-out", file},
			{"show", file}, {"show", "-json", file}, {"show", "-markdown", file}, {"verify", file}, {"simulate"}, {"check"}, {"check", "dns"}, {"check", "-json"},
			{"status"}, {"status", "-json"}, {"status", "-metrics"}, {"report"}, {"report", "-json"}, {"manifest", "export"}, {"manifest", "export", "-format", "csv"},
			{"manifest", "find", "evil1\x1b[2J\u202e@other.example"}, {"manifest", "find", "nothing" + acting}, {"manifest", "verify"}, {"state", "list"},
			{"notify", "-preview", "users"}, {"explain", acting}, {"approve", acting}, {acting}, {"show", acting}, {"rollback", "-to", acting},
		} {
			all += shown(args...)
		}
		for _, args := range [][]string{{"status"}, {"plan"}, {"doctor"}} {
			screen := f.terminal("", args...)
			if i := strings.Index(screen, "\n"); i >= 0 && strings.HasPrefix(screen, "Script started") {
				screen = screen[i+1:]
			}
			control(t, ownColour.ReplaceAllString(strings.ReplaceAll(screen, "\r\n", "\n"), ""), "on a terminal: "+args[0])
			commands++
		}
		c := f.start("serve", "-listen", "127.0.0.1:0", "-json")
		url := serveURL(t, c)
		for _, path := range []string{"/", "/live", "/status.json", "/nothing" + strings.ReplaceAll("<img src=x>", " ", "%20")} {
			page := fetchPage(t, url+path)
			if strings.Contains(page, "<img") || strings.Contains(page, "\x1b") {
				t.Errorf("%s has what others wrote as it is: %.3000s", path, page)
			}
		}
		_ = c.cmd.Process.Signal(os.Interrupt)
		<-c.ended
		return all
	}
	before := look()
	// What nobody has a home for at the target blocks the flip, until it is named.
	f.edit("acme.mx.hcl", "domain \"acme.example\" {\n", "domain \"acme.example\" {\n  ignore_addresses = [\"nobody@acme.example\", \"gone0@acme.example\", \"gone1@acme.example\", \"gone2@acme.example\"]\n")
	if err := os.Remove(f.path(file)); err != nil {
		t.Fatal(err)
	}
	f.run(0, "plan", "-out", file)
	f.approve("flip")
	f.approve("decommission")
	run := f.start("apply", "-wait", "-json", file)
	for ev := range run.events {
		if ev.State == "by_hand" {
			w.act(f, ev.Step)
		}
	}
	code := run.code()
	control(t, run.output(), "apply -json")
	if code != 0 {
		t.Fatalf("apply: exit code %d\n%s", code, tail(run.output(), 4000))
	}
	again := f.start("apply", file)
	control(t, again.output(), "apply")
	after := look()
	shown("report", "-html", "report.html")
	if page := f.read("report.html"); strings.Contains(page, "<img") || strings.Contains(page, "\x1b") {
		t.Error("the report has what others wrote as it is")
	}
	// What is looked for has to be there: escaped.
	for _, what := range []string{`owned`, `nobody`} {
		if !strings.Contains(before+after, what) {
			t.Errorf("nothing shows %q: looking for it proves nothing", what)
		}
	}

	// Servers that refuse, in such words.
	bad, err := imaptest.NewDouble(imaptest.Manners{
		Greeting: acting, Before: []string{"AUTH=PLAIN"}, Inbox: "INBOX",
		Login:   func(_, _ string) string { return "NO [ALERT] " + acting },
		Unknown: func(string) string { return "BAD " + acting },
	}, false, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bad.Close() })
	bad.AddAccount("a")
	f.write("secrets/any", "any\n")
	if out := shown("copy", "-source-password", "file:secrets/any", "-target-password", "file:secrets/any", "imap+none://a@"+bad.Address(), "imap+none://b@"+bad.Address()); !strings.Contains(out, "owned") {
		t.Errorf("the server's own words are missing:\n%s", out)
	}
	faults.Count(t, "screens looked at", commands)
	t.Logf("%d commands", commands)
}
