package copy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

var (
	faultRounds = flag.Int("fault-rounds", 1, "how often each scenario runs against each profile, with other points of failure")
	faultSeed   = flag.Uint64("fault-seed", 20783, "what is drawn; make torture takes another one each time")
	onlyCase    = flag.Int("fault-case", -1, "only this case, to see a failure again")
)

// profile is a kind of server, with accounts that nobody has used.
type profile struct {
	name      string
	separator string
	prefix    string
	start     func(t *testing.T) (address string, add func(account string))
}

// many are accounts for servers that want to know them before they start.
func many() map[string]string {
	accounts := map[string]string{}
	for i := range 2 * (len(faultCases(*faultRounds)) + 1) {
		accounts[fmt.Sprintf("u%d@acme.example", i)] = password
	}
	return accounts
}

func double(before, after string, change func(*imaptest.Manners)) func(t *testing.T) (string, func(string)) {
	return func(t *testing.T) (string, func(string)) {
		m := imaptest.Manners{
			Greeting: "ready", Before: strings.Fields(before), After: strings.Fields(after), Inbox: "INBOX",
			Permanent: []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\*`},
			Login: func(_, p string) string {
				if p == password {
					return ""
				}
				return "NO login failed"
			},
			Unknown: func(string) string { return "BAD not known here" },
		}
		if change != nil {
			change(&m)
		}
		d, err := imaptest.NewDouble(m, false, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d.Address(), d.AddAccount
	}
}

var profiles = []profile{
	{"memory", "/", "", func(t *testing.T) (string, func(string)) {
		m, err := imaptest.NewMemory(imaptest.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m.Address(), func(a string) { m.AddAccount(a, password) }
	}},
	{"dovecot", "/", "", func(t *testing.T) (string, func(string)) {
		return imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: many()}).Address(), func(string) {}
	}},
	{"courier", ".", "INBOX.", func(t *testing.T) (string, func(string)) {
		return imaptest.StartCourier(t, imaptest.CourierOptions{Accounts: many()}).Address(), func(string) {}
	}},
	{"exchange", "/", "", double("AUTH=PLAIN SASL-IR", "AUTH=PLAIN SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+", func(m *imaptest.Manners) {
		m.Greeting, m.Inbox, m.FoldNames = "The Microsoft Exchange IMAP4 service is ready.", "Inbox", true
		m.Permanent = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}
	})},
	{"ionos", "/", "", double("AUTH=PLAIN SASL-IR", "CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE UIDPLUS UNSELECT WITHIN", nil)},
	{"plain", "/", "", double("AUTH=PLAIN", "UIDPLUS", nil)}, // no LITERAL+, no MOVE, no LIST-STATUS
}

// task is what a pass has to do while things go wrong.
type task struct {
	name string
	mode providers.PassMode
	// before is done after a first pass without faults, nil: there was none.
	before func(c *changes)
}

// changes is what people do to both sides.
type changes struct {
	t        *testing.T
	p        profile
	src, dst server
	own      []imaptest.GeneratedMail // of the target's user, by whatever way
	gone     int                      // messages that the target's user has deleted
}

func (c *changes) folder(name string) string {
	if name == "INBOX" {
		return name
	}
	return c.p.prefix + strings.ReplaceAll(name, "/", c.p.separator)
}

func (c *changes) fill(s server, mails ...imaptest.GeneratedMail) {
	c.t.Helper()
	imaptest.Fill(c.t, s.address, s.config, s.name(), password, c.p.separator, c.p.prefix, mails)
}

var works = []task{
	{"a first pass", providers.BeforeFlip, nil},
	{"new mail", providers.BeforeFlip, func(c *changes) {
		c.fill(c.src, mail("INBOX", "new"), mail("INBOX", "new"), mail("Work", "new too", `\Flagged`), mail("Work/Fresh", "in a new folder"))
	}},
	{"flags", providers.BeforeFlip, func(c *changes) {
		store(c.t, c.src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagSeen, goimap.FlagAnswered)
		store(c.t, c.src, "INBOX", 2, goimap.StoreFlagsDel, goimap.FlagSeen)
		store(c.t, c.src, c.folder("Work"), 1, goimap.StoreFlagsSet, goimap.FlagFlagged)
	}},
	{"moves and deletions", providers.BeforeFlip, func(c *changes) {
		s := c.src.selected(c.t, "INBOX")
		if _, err := s.Move(uidSet(3), c.folder("Work")).Wait(); err != nil {
			c.t.Fatal(err)
		}
		expunge(c.t, c.src, "INBOX", 4)
		expunge(c.t, c.src, c.folder("Work/Deep"), 1)
	}},
	{"a first pass after the flip", providers.AfterFlip, nil},
	{"stragglers", providers.AfterFlip, func(c *changes) {
		c.own = append(c.own, mail("INBOX", "by the new way"), mail("INBOX", "one"), mail("Work", "their own"))
		c.fill(c.dst, c.own...)
		expunge(c.t, c.dst, "INBOX", 2)
		c.gone++
		c.fill(c.src, mail("INBOX", "straggler"), mail("INBOX", "straggler"), mail("Work", "late"), mail("Late", "in a new folder"))
	}},
}

// startMails are what the source has at first.
func startMails() []imaptest.GeneratedMail {
	large := mail("Work", "large")
	large.Octets = append(large.Octets, []byte(strings.Repeat("0123456789012345678901234567890123456789\r\n", 300))...)
	return []imaptest.GeneratedMail{
		mail("INBOX", "one"), mail("INBOX", "two", `\Seen`), mail("INBOX", "three"), mail("INBOX", "four", `\Flagged`), mail("INBOX", "twin"), mail("INBOX", "twin"),
		mail("Work", "five"), large, mail("Work/Deep", "six"), mail("Work/Deep", "seven", `\Answered`), mail("Work/Deep", "twin"),
	}
}

var (
	refusals = []string{
		"NO [UNAVAILABLE] try again later", "BAD Request is throttled. Suggested Backoff Time: 20 milliseconds", "NO [LIMIT] Too many simultaneous connections",
		"NO [OVERQUOTA] Account exceeded command or bandwidth limits.", "NO not today", "BAD Command Argument Error. 11", "NO [INUSE] busy", "NO [SERVERBUG] Internal error occurred.",
	}
	farewells  = []string{"Session invalidated - AccessTokenExpired", "Connection closed. 14", "[UNAVAILABLE] going down", "Autologout; idle for too long"}
	unaskedFor = []string{
		"* OK [ALERT] maintenance tonight", "* 77 EXISTS", "* 1 RECENT", "* FLAGS (\\Seen)", "* 1 FETCH (FLAGS (\\Seen))", "* 2 FETCH (UID 2 FLAGS (\\Deleted))",
		"* 9 FETCH (UID 4000 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 3 BODY[] {3}\r\nabc)", "* LIST (\\Noselect) \"/\" Ghost", "* X-VENDOR (1 2 {3}\r\n)))",
		"* SEARCH 1 2 3", "* NO something is slow", "* VANISHED (EARLIER) 900:910", "* STATUS Ghost (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)", "* OK [HIGHESTMODSEQ 5] up",
	}
)

// TestFaults lets things go wrong between the engine and both servers: 14 kinds of faults on two
// sides in 6 kinds of work, which are 168 scenarios, against 6 profiles of servers. Each
// scenario has two to four faults; those behind the first strike while the engine recovers from it. Then
// nothing goes wrong any more, and after a pass each message is there exactly once, the next pass
// has nothing to do, and the manifest agrees with both servers.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := faultCases(*faultRounds)
	var faults, pairs, runs atomic.Int64
	t.Run("all", func(t *testing.T) {
		for _, p := range profiles {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				address, add := p.start(t)
				for _, c := range cases {
					if *onlyCase >= 0 && c.number != *onlyCase {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s, %s (-fault-case %d)", c.task.name, c.kind, c.side, c.number), func(t *testing.T) {
						t.Parallel()
						defer func() {
							if t.Failed() {
								t.Logf("again: go test ./providers/imap/copy -run 'TestFaults/all/%s' -fault-seed %d -fault-case %d", p.name, *faultSeed, c.number)
							}
						}()
						n := suffer(t, p, address, add, c)
						runs.Add(1)
						faults.Add(int64(n))
						if n > 1 {
							pairs.Add(1)
						}
					})
				}
			})
		}
	})
	t.Logf("%d scenarios, %d profiles, %d runs: %d faults, %d runs with a fault during recovery (-fault-seed %d)",
		len(cases) / *faultRounds, len(profiles), runs.Load(), faults.Load(), pairs.Load(), *faultSeed)
	inflicted.Count(t, "faults", int(faults.Load()))
	inflicted.Count(t, "faults during recovery", int(pairs.Load()))
	if *onlyCase < 0 && !t.Failed() && faults.Load() < runs.Load() {
		t.Errorf("only %d faults in %d runs", faults.Load(), runs.Load())
	}
}

// faultCase is a scenario with points of failure of its own.
type faultCase struct {
	number int
	task   task
	side   string
	kind   imaptest.FaultKind
}

func faultCases(rounds int) (list []faultCase) {
	for range rounds {
		for _, w := range works {
			for _, side := range []string{"source", "target"} {
				for _, kind := range imaptest.FaultKinds {
					list = append(list, faultCase{len(list) + 1, w, side, kind})
				}
			}
		}
	}
	return list
}

// hurried waits a tenth of the time.
type hurried struct{ wallClock }

func (hurried) Sleep(ctx context.Context, d time.Duration) error { return wallClock{}.Sleep(ctx, d/10) }

// suffer is one scenario. It returns how many faults struck.
func suffer(t *testing.T, p profile, address string, add func(string), at faultCase) int {
	r, w, side := rand.New(rand.NewPCG(*faultSeed, uint64(at.number))), at.task, at.side
	src := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*at.number)}
	dst := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*at.number+1)}
	add(src.account)
	add(dst.account)
	c := &changes{t: t, p: p, src: src, dst: dst}
	c.fill(src, startMails()...)
	meddlers := map[string]*imaptest.Meddler{"source": imaptest.NewMeddler(t, address), "target": imaptest.NewMeddler(t, address)}
	b := newBench(t, src, dst, t.TempDir(), func(s, d *plan.Host) {
		s.Port, d.Port = meddlers["source"].Port(), meddlers["target"].Port()
		s.Limits.ConnectionsPerMailbox, d.Limits.ConnectionsPerMailbox = 2, 2
		d.Limits.DoubtGrace = 20 * time.Millisecond
		s.Limits.StallTimeout, d.Limits.StallTimeout = 3*time.Second, 3*time.Second // a greeting may be lost
	})
	b.engine.o.Clock = hurried{}
	b.mailbox.Deletes = "mirror"
	if w.before != nil {
		b.pass(providers.BeforeFlip)
		w.before(c)
	}
	// How many occasions there are is learnt from the same work at another engine's hands: none is known here, so the
	// place is drawn from what such a pass usually has.
	one := func(kind imaptest.FaultKind, within int) imaptest.Fault {
		f := imaptest.Fault{Kind: kind, At: 1 + r.IntN(within)}
		switch kind {
		case imaptest.RefuseCommand:
			f.Text = refusals[r.IntN(len(refusals))]
		case imaptest.ByeForCommand:
			f.Text = farewells[r.IntN(len(farewells))]
		case imaptest.UnaskedData:
			f.Text = unaskedFor[r.IntN(len(unaskedFor))]
		}
		return f
	}
	within := map[imaptest.FaultKind]int{imaptest.CutInLiteral: 3, imaptest.CutInBody: 5}[at.kind]
	if within == 0 {
		within = 12
	}
	plan := []imaptest.Fault{one(at.kind, within)}
	for range 1 + r.IntN(3) {
		more := one(imaptest.FaultKinds[r.IntN(len(imaptest.FaultKinds))], 12)
		more.At += plan[len(plan)-1].At
		plan = append(plan, more)
	}
	meddlers[side].Plan(plan...)
	var tried []string
	for range 8 {
		_, err := b.try(w.mode)
		if err == nil {
			break
		}
		tried = append(tried, err.Error())
	}
	struck := meddlers[side].Struck()
	meddlers[side].Plan()

	defer func() {
		if t.Failed() {
			t.Logf("faults %+v\nstruck: %q\npasses that failed: %q", plan, struck, tried)
		}
	}()
	var last providers.PassResult
	// A person who runs it again asks for what was refused, too. What the engine was told wrongly may take a pass to be seen again.
	for range 2 {
		r, err := b.engine.pass(t.Context(), providers.PassSpec{Mailbox: b.mailbox, Mode: w.mode, Asked: true}, b.source, b.to)
		if err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		last = r
	}
	if last.Doubt > 0 || last.Quarantined > 0 {
		t.Errorf("without a fault: %+v", last)
	}
	b.idle(w.mode)
	c.compare(b, w)
	comparison, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil {
		t.Fatal(err)
	}
	if len(comparison.Missing) != c.gone {
		t.Errorf("the manifest misses %q", comparison.Missing)
	}
	return len(struck)
}

// compare holds the target against what it has to be: the source, and after the flip what its user did besides.
func (c *changes) compare(b *bench, w task) {
	c.t.Helper()
	want, got := b.src.read(c.t), b.dst.read(c.t)
	for name, mails := range got {
		if len(mails) == 0 && strings.Contains(strings.ToLower(name), "mxodus") {
			c.t.Errorf("the folder %q was left at the target", name)
		}
	}
	if w.mode == providers.AfterFlip {
		for _, m := range c.own {
			folder := c.folder(m.Folder)
			want[folder] = append(want[folder], m.Mail())
		}
		if c.gone > 0 {
			want["INBOX"] = slices.DeleteFunc(want["INBOX"], func(m imaptest.Mail) bool { return m.UID == 2 })
		}
	}
	lines := imaptest.Diff(want, got, nil)
	if len(lines) > 0 {
		c.t.Errorf("%d differences:\n%s", len(lines), strings.Join(lines[:min(len(lines), 10)], "\n"))
	}
}
