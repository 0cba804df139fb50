package notice

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/faults"
)

func fixture(t *testing.T) *plan.Migration {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Migration{
		Name: "acme", Timezone: "Europe/Berlin", Cutover: time.Date(2027, 1, 15, 18, 0, 0, 0, loc).UTC(),
		Sources: []plan.Host{{Kind: "ionos", Hostname: "imap.ionos.de", Port: 993}},
		Targets: []plan.Host{
			{Kind: "microsoft365", Username: "{address}"}, {Kind: "google_workspace", Username: "{address}"},
			{Kind: "imap", Name: "lab", Hostname: "mail.acme.example", Port: 993, TLS: plan.TLSImplicit, Username: "{address}", Submission: "smtp+starttls://mail.acme.example:587"},
			{Kind: "imap", Name: "bare", Hostname: "bare.acme.example", Port: 143, TLS: plan.TLSStart, Username: "u-{address}"},
		},
		Mailboxes: []plan.Mailbox{
			{Source: "anna@acme.example", Target: "anna.ott@acme.example", From: "ionos", On: "microsoft365", DisplayName: `Anna "<b>" Ott`},
			{Source: "gil@acme.example", Target: "gil@acme.example", From: "ionos", On: "google_workspace"},
			{Source: "jens@acme.example", Target: "jens@acme.example", From: "ionos", On: "imap.lab", DisplayName: "Jens"},
			{Source: "rita@acme.example", Target: "rita@acme.example", From: "ionos", On: "imap.bare", DisplayName: "Rita"},
		},
	}
}

// Each built-in text says to each recipient what is true for them, and leaves nothing open.
func TestBuiltins(t *testing.T) {
	m := fixture(t)
	if want := []string{"cutover.de", "cutover.en", "moved.de", "moved.en"}; !slices.Equal(Builtins(), want) {
		t.Fatalf("there are %q, want %q", Builtins(), want)
	}
	open := regexp.MustCompile(`[{}]`)
	for _, name := range Builtins() {
		text, html, ok := Builtin(name)
		if !ok || len(Unknown(text+html)) > 0 {
			t.Errorf("%s: unknown %q", name, Unknown(text+html))
		}
		for _, b := range m.Mailboxes {
			f := About(m, b.Source)
			plain, rich := f.Fill(text), f.FillHTML(html)
			for what, s := range map[string]string{"text": plain, "HTML": rich} {
				if left := open.FindString(s); left != "" {
					t.Errorf("%s for %s: %q is left in the %s:\n%s", name, b.Source, left, what, s)
				}
				want := map[string][]string{
					"anna@acme.example": {"https://outlook.office.com", "anna.ott@acme.example"},
					"gil@acme.example":  {"https://mail.google.com", "gil@acme.example"},
					"jens@acme.example": {"mail.acme.example", "993", "SSL/TLS", "mail.acme.example:587", "STARTTLS"},
					"rita@acme.example": {"bare.acme.example", "143", "u-rita@acme.example", "STARTTLS"},
				}[b.Source]
				if strings.HasPrefix(name, "cutover") {
					want = append(want, "Outlook", "Apple Mail", "iPhone", "Android", "15", "2027", "18:00")
				}
				for _, w := range want {
					if !strings.Contains(s, w) {
						t.Errorf("%s for %s: the %s doesn't say %q:\n%s", name, b.Source, what, w, s)
					}
				}
				for other, w := range map[string]string{"anna@acme.example": "office.com", "gil@acme.example": "google.com", "jens@acme.example": ":587"} {
					if other != b.Source && strings.Contains(s, w) {
						t.Errorf("%s for %s: the %s says %q, which is for %s", name, b.Source, what, w, other)
					}
				}
			}
			if strings.Contains(rich, "<b>") {
				t.Errorf("%s: a name became HTML", name)
			}
			if strings.Count(rich, "<table") != strings.Count(rich, "</table>") || strings.Count(rich, "<ul>") != strings.Count(rich, "</ul>") {
				t.Errorf("%s for %s: elements are left open:\n%s", name, b.Source, rich)
			}
			for i, line := range strings.Split(plain, "\n") {
				if len([]rune(line)) > 110 {
					t.Errorf("%s:%d is %d wide", name, i+1, len([]rune(line)))
				}
			}
		}
	}
}

func TestFill(t *testing.T) {
	m := fixture(t)
	f := About(m, "JENS@acme.example")
	for in, want := range map[string]string{
		"{name} {address} {target} {domain} {old_server}": "Jens JENS@acme.example jens@acme.example acme.example imap.ionos.de",
		"{cutover} | {cutover_de} | {cutover_en}":         "Fri 15 Jan 2027 18:00 CET | Freitag, 15. Januar 2027, 18:00 Uhr (MEZ) | Friday, 15 January 2027, 18:00 CET",
		"{for microsoft365}cloud{end}{for imap}own{end}":  "own",
		"{for webmail}{webmail}{end}{webmail}.":           ".",
		"{ } {nobody} {for nobody}x{end} {for imap}open":  "{ } {nobody}  {for imap}open",
	} {
		if got := f.Fill(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := About(m, "anna@acme.example").FillHTML("<p>{name}</p>"); got != "<p>Anna &#34;&lt;b&gt;&#34; Ott</p>" {
		t.Error(got)
	}
	if got := About(m, "chef@other.example").Fill("{name} {server} {for imap}x{end}"); got != "chef@other.example  " {
		t.Errorf("%q", got)
	}
	if got := Unknown("{name} {nmae} {for imap}{server}{end} {for imp}x{end} {webmal}"); !slices.Equal(got, []string{"imp", "nmae", "webmal"}) {
		t.Errorf("%q", got)
	}
}

func FuzzFill(f *testing.F) {
	f.Add("{name} {for imap}x{end}{for", "{cutover}")
	m := &plan.Migration{Name: "a", Targets: []plan.Host{{Kind: "imap", Hostname: "h"}}, Mailboxes: []plan.Mailbox{{Source: "a@b", Target: "a@b", On: "imap", DisplayName: "<{name}>"}}}
	facts := About(m, "a@b")
	faults.Fuzz(f, func(t *testing.T, text, more string) {
		facts.Fill(text + more)
		Unknown(text + more)
		if !strings.Contains(text, "<") && strings.Contains(facts.FillHTML(text), "<") {
			t.Errorf("%q became %q", text, facts.FillHTML(text))
		}
	})
}
