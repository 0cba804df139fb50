package apply

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

func TestCountsOfFolders(t *testing.T) {
	folder := func(name string, n int) providers.Folder { return providers.Folder{Name: name, Messages: uint32(n)} }
	pair := func(source, target string) providers.FolderComparison {
		return providers.FolderComparison{Source: source, Target: target}
	}
	pairs := []providers.FolderComparison{pair("INBOX", "Inbox"), pair("Gesendete Objekte", "Sent"), pair("Gesendet", "Sent"), pair("Leer", "Leer")}
	here := []providers.Folder{folder("INBOX", 900), folder("Gesendete Objekte", 60), folder("Gesendet", 40), folder("Spam", 500), folder("Leer", 0)}
	for _, c := range []struct {
		name             string
		there            []providers.Folder
		quarantined      int
		words, complaint string
	}{
		{"the same", []providers.Folder{folder("inbox", 900), folder("Sent", 100)}, 0, "1000 at the source, 1000 at the target", ""},
		{"new mail", []providers.Folder{folder("INBOX", 950), folder("Sent", 100), folder("Archive", 7)}, 0, "1050 at the target", ""},
		{"moved by its owner", []providers.Folder{folder("INBOX", 880), folder("Sent", 120)}, 0, "fewer in Inbox 880 of 900", ""},
		{"just within", []providers.Folder{folder("INBOX", 890), folder("Sent", 100)}, 0, "fewer in Inbox 890 of 900", ""},
		{"over one per cent", []providers.Folder{folder("INBOX", 889), folder("Sent", 100)}, 0, "", "1000 messages at the source and 989 at the target, 1 % may be missing: Inbox 889 of 900"},
		{"a folder is not there", []providers.Folder{folder("INBOX", 900)}, 0, "", "Sent 0 of 100"},
		{"in quarantine", []providers.Folder{folder("INBOX", 850), folder("Sent", 100)}, 50, "950 at the source, 950 at the target", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			words, complaint := compareCounts(pairCounts(pairs, here, c.there), c.quarantined, 0.01)
			if !strings.Contains(words, c.words) || !strings.Contains(complaint, c.complaint) || (complaint == "") != (c.complaint == "") {
				t.Errorf("%q, %q", words, complaint)
			}
		})
	}
}

// After the flip the new MX is asked for every address again.
func TestNewMXIsAskedForEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(3 * time.Hour))
		m.Aliases = []plan.Alias{{Address: "info@acme.example", Deliver: "anna@acme.example", On: "imap.new"}}
		p.Config = m.Digest()
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.knows["info@acme.example"] = true
		go func() {
			time.Sleep(time.Until(p.Cutover.Add(10 * time.Second)))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.knows["info@acme.example"] = false
		}()
		upToHold(t, engine(m, p, w, j, dir), time.Hour)
		const step = "validate/dns/acme.example"
		e := engine(m, p, w, j, dir)
		if st := e.Record.State(step); st.Failed == nil || !strings.Contains(st.Failed.Error, "does not take mail for info@acme.example") {
			t.Errorf("%+v", st)
		}
		w.knows["info@acme.example"] = true
		upToHold(t, e, 2*time.Hour)
		if st := e.Record.State(step); !strings.Contains(st.How, "the new MX takes mail for 3 of 3 addresses, and for no random name") {
			t.Errorf("%+v", st)
		}
	})
}
