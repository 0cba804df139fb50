package copy

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// offer is a server of some kind at one side.
type offer struct {
	name string
	// start returns the server as it is, and the address that the engine is to use.
	start func(t *testing.T) (s server, address string)
	// What it can't do as a target.
	noMove, noExpunge, noKeywords bool
}

// offers are Dovecot, Cyrus and Courier with all they have, and Dovecot shown as other kinds of servers, where a command that
// isn't offered fails the test.
func offers() (list []offer) {
	for _, h := range hosts {
		list = append(list, offer{name: h.name, noMove: h.name == "courier", start: func(t *testing.T) (server, string) {
			s := h.start(t)
			return s, s.address
		}})
	}
	for _, p := range imaptest.Profiles {
		list = append(list, offer{
			name: p.Name, noMove: !strings.Contains(p.After, "MOVE"), noExpunge: !strings.Contains(p.After, "UIDPLUS"), noKeywords: p.Permanent != "",
			start: func(t *testing.T) (server, string) {
				s := hosts[0].start(t)
				f := imaptest.NewFilter(t, s.address, p)
				t.Cleanup(func() {
					for _, v := range f.Violations() {
						t.Errorf("%s: %s", p.Name, v)
					}
				})
				return s, f.Address()
			},
		})
	}
	return list
}

// TestEveryKindOfServer takes each kind of server as a source and as a target through a mailbox's life: a full copy, a pass with nothing
// to do, changes of all kinds, new UIDs.
func TestEveryKindOfServer(t *testing.T) {
	t.Parallel()
	dovecot := offers()[0]
	for _, o := range offers() {
		t.Run("from "+o.name, func(t *testing.T) { t.Parallel(); live(t, o, dovecot) })
		if o.name != dovecot.name {
			t.Run("to "+o.name, func(t *testing.T) { t.Parallel(); live(t, dovecot, o) })
		}
	}
}

func live(t *testing.T, from, to offer) {
	src, at := from.start(t)
	dst, there := to.start(t)
	src.fill(t, []imaptest.GeneratedMail{
		mail("INBOX", "one"), mail("INBOX", "two", `\Seen`), mail("INBOX", "three"), mail("INBOX", "four"),
		mail("INBOX", "twin"), mail("INBOX", "twin"), mail("A/B", "five"), mail("C", "six", "$Work"), mail("Ünï & so", "seven", `\Flagged`, `\Draft`),
	})
	large := mail("C", "large")
	large.Octets = append(large.Octets, strings.Repeat("a line of text\r\n", 1000)...)
	src.fill(t, []imaptest.GeneratedMail{large})
	b := newBench(t, src, dst, t.TempDir(), func(s, d *plan.Host) { s.Port, d.Port = portOf(t, at), portOf(t, there) })
	b.mailbox.Deletes = "mirror"

	check := func(what string, want providers.PassResult) {
		t.Helper()
		got := b.pass(providers.BeforeFlip)
		if to.noMove { // before the flip, a copy and a deletion
			want.Copied, want.Deleted, want.Moved = want.Copied+want.Moved, want.Deleted+want.Moved, 0
		}
		if to.noExpunge {
			want.Deleted = 0
		}
		if got.Copied != want.Copied || got.Flags != want.Flags || got.Moved != want.Moved || got.Deleted != want.Deleted {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		missing, extra := difference(t, src, dst, to)
		if missing > 0 || extra > 0 && !to.noExpunge {
			t.Errorf("%s: %d messages are missing at the target, %d too many", what, missing, extra)
		}
		b.idle(providers.BeforeFlip)
	}
	check("full", providers.PassResult{Copied: 10})

	store(t, src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagSeen)
	store(t, src, "INBOX", 2, goimap.StoreFlagsDel, goimap.FlagSeen)
	expunge(t, src, "INBOX", 3)
	src.move(t, "INBOX", "C", 4, 5)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "eight"), mail("New", "nine"), mail("INBOX", "twin")})
	want := providers.PassResult{Copied: 3, Flags: 2, Moved: 2, Deleted: 1}
	check("delta", want)

	// The folder gets new UIDs, in another order, without one message and with one more.
	c := src.client(t)
	if err := c.Delete(src.raw("A/B")).Wait(); err != nil {
		t.Fatal(err)
	}
	src.fill(t, []imaptest.GeneratedMail{mail("D", "ten"), mail("D", "eleven")})
	check("two more", providers.PassResult{Copied: 2, Deleted: 1})
	if err := c.Delete(src.raw("D")).Wait(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // UIDVALIDITY is in seconds at some servers
	src.fill(t, []imaptest.GeneratedMail{mail("D", "twelve"), mail("D", "eleven")})
	check("new UIDs", providers.PassResult{Copied: 1, Deleted: 1})
}

// TestASlowLineIsCompressed: a server that offers COMPRESS is asked for it once the line to it has been slow, and not before.
func TestASlowLineIsCompressed(t *testing.T) {
	src, dst := dovecots(t)
	gmail := imaptest.Profiles[slices.IndexFunc(imaptest.Profiles, func(p imaptest.Profile) bool { return p.Name == "gmail" })]
	f := imaptest.NewFilter(t, src.address, gmail)
	far := imaptest.NewProxy(t, f.Address(), 10*time.Millisecond)
	b := newBench(t, src, dst, t.TempDir(), func(s, _ *plan.Host) { s.Port = far.Port() })
	src.fill(t, imaptest.Generate(3, 50))
	b.pass(providers.BeforeFlip)
	if n := f.Compressed(); n != 0 {
		t.Errorf("%d sessions were compressed before anything was known of the line", n)
	}
	l := b.engine.throughputOf(b.source, b.to)
	l.octets, l.busy = measured, time.Minute
	src.fill(t, imaptest.Generate(4, 50))
	b.pass(providers.BeforeFlip)
	if n := f.Compressed(); n != 1 {
		t.Errorf("%d sessions were compressed, want that of the source", n)
	}
	b.equal()
	if v := f.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// difference counts the messages that are only at one side. Keywords don't count where the target keeps none.
func difference(t *testing.T, src, dst server, to offer) (missing, extra int) {
	t.Helper()
	read := func(s server) map[string][]imaptest.Mail {
		out := map[string][]imaptest.Mail{}
		for name, mails := range s.read(t) {
			for i := range mails {
				if to.noKeywords {
					mails[i].Flags = slices.DeleteFunc(mails[i].Flags, func(f string) bool { return !strings.HasPrefix(f, `\`) })
				}
			}
			if len(mails) > 0 {
				out[s.canonical(name)] = mails
			}
		}
		return out
	}
	for _, line := range imaptest.Diff(read(src), read(dst), nil) {
		if strings.Contains(line, "missing") {
			missing++
		} else {
			extra++
		}
	}
	return missing, extra
}

// move is what a mail program does: MOVE, or COPY and expunge.
func (s server) move(t *testing.T, from, to string, uids ...uint32) {
	t.Helper()
	if _, err := s.selected(t, from).Move(uidSet(uids...), s.raw(to)).Wait(); err != nil {
		t.Fatal(err)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
