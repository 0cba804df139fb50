package copy

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// host is a kind of real server.
type host struct {
	name  string
	start func(t *testing.T) server
	// Kinds of odd messages that the server changes when it stores them, and that it doesn't take.
	rewrites, refuses []string
	keywords          bool // it doesn't take all of the corpus' keywords
}

var hosts = []host{
	{"dovecot", func(t *testing.T) server {
		d := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{user: password}})
		return server{address: d.Address()}
	}, []string{"NUL", "all octets"}, nil, true}, // NUL becomes 0x80
	{"cyrus", func(t *testing.T) server {
		c := imaptest.StartCyrus(t, imaptest.CyrusOptions{Accounts: map[string]string{user: password}})
		return server{address: c.Address()}
	}, nil, []string{"one octet", "field without a name", "bare LF", "mixed line ends", "INTERNALDATE of 1904", "INTERNALDATE of 1969"}, false},
	{"courier", func(t *testing.T) server {
		c := imaptest.StartCourier(t, imaptest.CourierOptions{Accounts: map[string]string{user: password}})
		return server{address: c.Address(), below: "INBOX."}
	}, []string{"bare CR", "mixed line ends", "no line end", "one octet"}, []string{"INTERNALDATE of 1904", "INTERNALDATE of 1969"}, true}, // it keeps lines
}

// mails reads an account: messages by folder and UID, under names that don't depend on the server.
func (s server) mails(t *testing.T) map[string]imaptest.Mail {
	t.Helper()
	out := map[string]imaptest.Mail{}
	for name, mails := range s.read(t) {
		for _, m := range mails {
			out[place(s.canonical(name), m.UID)] = m
		}
	}
	return out
}

// TestOddMessagesBetweenHosts copies the odd corpus between Dovecot, Cyrus and Courier in every direction. Each message that
// the source shows is at the target exactly once, or in quarantine.
func TestOddMessagesBetweenHosts(t *testing.T) {
	t.Parallel()
	mails := odd()
	for _, from := range hosts {
		t.Run("from "+from.name, func(t *testing.T) {
			t.Parallel()
			src := from.start(t)
			var taken delivered
			for _, to := range hosts {
				t.Run("to "+to.name, func(t *testing.T) {
					b := newBench(t, src, to.start(t), t.TempDir(), nil)
					if taken == nil {
						var refused map[string]int
						taken, refused = deliver(t, b.source, mails)
						if !slices.ContainsFunc(from.refuses, func(kind string) bool { return refused[kind] > 0 }) && len(refused) > 0 {
							t.Errorf("%s doesn't take %v", from.name, refused)
						}
						if len(taken) < 300 {
							t.Fatalf("only %d messages are there to be copied", len(taken))
						}
					}
					r := b.pass(providers.BeforeFlip)
					compareHosts(t, b, to, taken, r)
					b.idle(providers.BeforeFlip)
				})
			}
		})
	}
}

// compareHosts joins what both sides show by the rows of the manifest.
func compareHosts(t *testing.T, b *bench, to host, taken delivered, r providers.PassResult) {
	t.Helper()
	source, target := b.src.mails(t), b.dst.mails(t)
	if len(source) != len(taken) {
		t.Fatalf("the source shows %d messages, and took %d", len(source), len(taken))
	}
	if _, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to, (*run).auditAll); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	quarantined, lost, otherDates := 0, 0, 0
	if err := b.engine.Rows(t.Context(), b.mailbox, func(row Row) error {
		at := place(row.Folder, row.UID)
		kind, want := taken[at], source[at]
		if kind == "" || row.SHA256 != want.SHA256 {
			t.Errorf("%s (%s): the manifest has other octets than the source shows: %+v", at, kind, row)
		}
		delete(source, at)
		if row.State == "quarantined" {
			quarantined++
			if row.Server == "" || row.File == "" || !slices.Contains(to.refuses, kind) {
				t.Errorf("%s (%s): in quarantine without a reason: %+v", at, kind, row)
			}
			return nil
		}
		there := place(b.dst.canonical(row.Target), row.TargetUID)
		got, ok := target[there]
		if row.State != "claimed" || !ok || seen[there] {
			t.Errorf("%s (%s): not at the target for itself: %+v", at, kind, row)
			return nil
		}
		seen[there] = true
		// Each difference is named in the manifest, and nothing else is.
		var differs []string
		shifting := to.name == "dovecot" && strings.HasPrefix(kind, "INTERNALDATE") // Dovecot shows such a date now so, now so
		if !got.Date.Equal(want.Date) && !shifting {
			differs = append(differs, "date="+got.Date.UTC().Format(time.RFC3339))
		}
		if n, _ := fewer(want.Flags, got.Flags); n > 0 {
			differs = append(differs, "keywords")
		}
		named := slices.DeleteFunc(slices.Clone(row.Changed), func(what string) bool {
			return what == "octets" || what == "content" || shifting && strings.HasPrefix(what, "date=")
		})
		if !slices.Equal(named, differs) || (got.SHA256 != want.SHA256) != (slices.Contains(row.Changed, "octets") || slices.Contains(row.Changed, "content")) {
			t.Errorf("%s (%s): the manifest names %v, and what differs is %v; octets: %v", at, kind, row.Changed, differs, got.SHA256 != want.SHA256)
		}
		if got.SHA256 != want.SHA256 && !slices.Contains(to.rewrites, kind) {
			t.Errorf("%s (%s): other octets at the target", at, kind)
		}
		if n, ok := fewer(want.Flags, got.Flags); !ok || n > 0 && !to.keywords {
			t.Errorf("%s (%s): flags %v at the source and %v at the target", at, kind, want.Flags, got.Flags)
		} else {
			lost += n
		}
		if !got.Date.Equal(want.Date) {
			otherDates++
			if want.Date.Year() > 1970 && want.Date.Year() < 2038 {
				t.Errorf("%s (%s): dated %s at the source and %s at the target", at, kind, want.Date, got.Date)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(source) > 0 || len(seen) != len(target) {
		t.Errorf("%d messages of the source are in no row, %d of %d at the target: %v", len(source), len(target)-len(seen), len(target), slices.Sorted(maps.Keys(source)))
	}
	if r.Quarantined != quarantined || r.Copied != len(taken)-quarantined || r.KeywordsLost != lost {
		t.Errorf("%+v, and %d of %d are in quarantine, %d keywords lost", r, quarantined, len(taken), lost)
	}
	t.Logf("%d messages: %d in quarantine, %d with another date, %d keywords lost", len(taken), quarantined, otherDates, lost)
}

// fewer reports how many keywords of want are not in got, and whether that is the whole difference.
func fewer(want, got []string) (n int, ok bool) {
	rest := slices.DeleteFunc(slices.Clone(want), func(f string) bool {
		gone := !strings.HasPrefix(f, `\`) && !slices.Contains(got, f)
		if gone {
			n++
		}
		return gone
	})
	return n, slices.Equal(rest, got)
}

// TestLargeMessageFromHostToHost hands a message of 150 MB from Dovecot to Cyrus to Courier to Dovecot.
func TestLargeMessageFromHostToHost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("copies 450 MB")
	}
	const head = "Subject: large\r\n\r\n"
	const size = int64(len(head)) + (150<<20)/int64(len(line))*int64(len(line)) // whole lines
	src := hosts[0].start(t)
	slow := func(s, d *plan.Host) { s.Limits.StallTimeout, d.Limits.StallTimeout = time.Minute, time.Minute }
	first := newBench(t, src, src, t.TempDir(), slow)
	s, err := first.source.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := io.MultiReader(strings.NewReader(head), &repeated{size: size - int64(len(head))})
	wait, err := s.StartAppend(t.Context(), "INBOX", []imap.Message{{Size: size, Body: body, InternalDate: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := wait(); err != nil || !a[0].Done {
		t.Fatal(err, a)
	}
	s.Close()
	want := src.read(t)["INBOX"]
	for _, h := range append(hosts[1:], hosts[0]) {
		dst := h.start(t)
		b := newBench(t, src, dst, t.TempDir(), slow)
		if r := b.pass(providers.BeforeFlip); r.Copied != 1 || r.Octets < size {
			t.Fatalf("to %s: %+v", h.name, r)
		}
		got := dst.read(t)["INBOX"]
		if len(got) != 1 || got[0].SHA256 != want[0].SHA256 || !got[0].Date.Equal(want[0].Date) {
			t.Fatalf("%s shows %+v, want %+v", h.name, got, want)
		}
		src = dst
	}
}
