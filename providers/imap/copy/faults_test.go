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

var (
	refusals = []string{
		"NO [UNAVAILABLE] try again later", "BAD Request is throttled. Suggested Backoff Time: 20 milliseconds", "NO [LIMIT] Too many simultaneous connections",
		"NO [OVERQUOTA] Account exceeded command or bandwidth limits.", "NO not today", "BAD Command Argument Error. 11", "NO [INUSE] busy", "NO [SERVERBUG] Internal error occurred.",
	}
	closedDoors = []string{
		"NO [AUTHENTICATIONFAILED] Too many simultaneous connections", "NO [AUTHENTICATIONFAILED] Authentication failed.", "NO [UNAVAILABLE] Temporary authentication failure.", "NO LOGIN failed.",
	}
	farewells  = []string{"Session invalidated - AccessTokenExpired", "Connection closed. 14", "[UNAVAILABLE] going down", "Autologout; idle for too long"}
	unaskedFor = []string{
		"* OK [ALERT] maintenance tonight", "* 77 EXISTS", "* 1 RECENT", "* FLAGS (\\Seen)", "* 1 FETCH (FLAGS (\\Seen))", "* 2 FETCH (UID 2 FLAGS (\\Deleted))",
		"* 9 FETCH (UID 4000 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 3 BODY[] {3}\r\nabc)", "* LIST (\\Noselect) \"/\" Ghost", "* X-VENDOR (1 2 {3}\r\n)))",
		"* SEARCH 1 2 3", "* NO something is slow", "* VANISHED (EARLIER) 900:910", "* STATUS Ghost (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)", "* OK [HIGHESTMODSEQ 5] up",
	}
)

// TestFaults lets things go wrong between the engine and both servers: 22 kinds of faults on two sides where they have occasions,
// each in four of six kinds of work, against 6 profiles of servers. Each scenario is a chain: after the first fault there are
// two to five more, at either side, which strike while the engine recovers from the one before (imaptest.Chain). Then
// nothing goes wrong any more, and after a pass each message is there exactly once, the next pass
// has nothing to do, and the manifest agrees with both servers.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := faultCases(*faultRounds)
	var faults, pairs, runs, spared atomic.Int64
	t.Run("all", func(t *testing.T) {
		for _, p := range profiles {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				address, add := p.start(t)
				for _, c := range cases {
					if *onlyCase >= 0 && c.number != *onlyCase || testing.Short() && c.number%9 != 0 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s, %s (-fault-case %d)", c.task.name, c.kind, c.side, c.number), func(t *testing.T) {
						t.Parallel()
						defer func() {
							if t.Failed() {
								t.Logf("again: go test ./providers/imap/copy -run 'TestFaults/all/%s' -fault-seed %d -fault-case %d", p.name, *faultSeed, c.number)
							}
						}()
						chain := suffer(t, p, address, add, c)
						n := len(chain.Struck())
						runs.Add(1)
						faults.Add(int64(n))
						pairs.Add(int64(chain.Pairs()))
						if n == 0 {
							spared.Add(1)
							t.Log("no fault struck")
						}
					})
				}
			})
		}
	})
	t.Logf("%d scenarios, %d profiles, %d runs, %d of them without any fault: %d faults, %d during the recovery from the one before (-fault-seed %d)",
		len(cases), len(profiles), runs.Load(), spared.Load(), faults.Load(), pairs.Load(), *faultSeed)
	inflicted.Count(t, "faults", int(faults.Load()))
	inflicted.Count(t, "faults during recovery", int(pairs.Load()))
	if *onlyCase < 0 && !t.Failed() && (spared.Load() > runs.Load()/10 || faults.Load() < 3*runs.Load() || pairs.Load() < runs.Load()) {
		t.Errorf("only %d faults and %d during recovery in %d runs, %d of them without any", faults.Load(), pairs.Load(), runs.Load(), spared.Load())
	}
}

// faultCase is a scenario with points of failure of its own.
type faultCase struct {
	number int
	task   task
	side   string
	kind   imaptest.FaultKind
}

// worksEach is in how many kinds of work a kind of fault is seen at a side in one round; which they are is drawn anew for each.
const worksEach = 4

func faultCases(rounds int) (list []faultCase) {
	r := rand.New(rand.NewPCG(*faultSeed, 0))
	for range rounds {
		for _, side := range sides {
			for _, kind := range kindsAt(side) {
				for _, i := range r.Perm(len(works))[:worksEach] {
					list = append(list, faultCase{len(list) + 1, works[i], side, kind})
				}
			}
		}
	}
	return list
}

var sides = []string{"source", "target"}

// kindsAt are the kinds of faults that have occasions at a side: nothing is appended at the source, and no size is asked of the target.
func kindsAt(side string) []imaptest.FaultKind {
	return slices.DeleteFunc(slices.Clone(imaptest.FaultKinds), func(k imaptest.FaultKind) bool {
		if side == "source" {
			return k == imaptest.CutInLiteral || k == imaptest.WrongUID
		}
		return k == imaptest.WrongSize
	})
}

// drawFault places a fault at one of the first within occasions, or fewer where there are never so many.
func drawFault(r *rand.Rand, kind imaptest.FaultKind, within int) imaptest.Fault {
	switch kind {
	case imaptest.CutInLiteral, imaptest.WrongUID, imaptest.RefuseLogin:
		within = min(within, 2)
	case imaptest.CutInBody, imaptest.WrongSize, imaptest.WrongValidity:
		within = min(within, 5)
	}
	f := imaptest.Fault{Kind: kind, At: 1 + r.IntN(within)}
	one := func(texts []string) string { return texts[r.IntN(len(texts))] }
	switch kind {
	case imaptest.RefuseCommand:
		f.Text = one(refusals)
	case imaptest.RefuseLogin:
		f.Text = one(closedDoors)
	case imaptest.ByeForCommand:
		f.Text = one(farewells)
	case imaptest.UnaskedData:
		f.Text = one(unaskedFor)
	case imaptest.WrongUID:
		f.Text = one(imaptest.WrongUIDs)
	case imaptest.WrongSize:
		f.Text = one([]string{"0", "1", "70000", "4294967295"})
	}
	return f
}

// hurried waits a tenth of the time.
type hurried struct{ wallClock }

func (hurried) Sleep(ctx context.Context, d time.Duration) error { return wallClock{}.Sleep(ctx, d/10) }

// suffer is one scenario. It returns the faults that struck.
func suffer(t *testing.T, p profile, address string, add func(string), at faultCase) *imaptest.Chain {
	r, w, side := rand.New(rand.NewPCG(*faultSeed, uint64(at.number))), at.task, at.side
	src := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*at.number)}
	dst := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*at.number+1)}
	add(src.account)
	add(dst.account)
	c := &changes{t: t, p: p, src: src, dst: dst}
	c.fill(src, startMails()...)
	meddlers := map[string]*imaptest.Meddler{"source": imaptest.NewMeddler(t, address), "target": imaptest.NewMeddler(t, address)}
	dir := t.TempDir()
	engine := func(stall time.Duration) *bench {
		b := newBench(t, src, dst, dir, func(s, d *plan.Host) {
			s.Port, d.Port = meddlers["source"].Port(), meddlers["target"].Port()
			s.Limits.ConnectionsPerMailbox, d.Limits.ConnectionsPerMailbox = 2, 2
			d.Limits.DoubtGrace = 20 * time.Millisecond
			s.Limits.StallTimeout, d.Limits.StallTimeout = stall, stall
		})
		b.engine.o.Clock = hurried{}
		b.mailbox.Deletes = "mirror"
		return b
	}
	b := engine(20 * time.Second)
	if w.before != nil {
		b.pass(providers.BeforeFlip)
		w.before(c)
	}
	// How many occasions there are is not known here, so the place is drawn from what such a pass usually has.
	links := []imaptest.Link{{Meddler: meddlers[side], Fault: drawFault(r, at.kind, 12)}}
	for range 2 + r.IntN(4) {
		if r.IntN(3) == 0 {
			side = sides[r.IntN(2)]
		}
		kinds := kindsAt(side)
		links = append(links, imaptest.Link{Meddler: meddlers[side], Fault: drawFault(r, kinds[r.IntN(len(kinds))], 6+14*r.IntN(2))})
	}
	chain := imaptest.NewChain(links...)
	b = engine(time.Second) // a black hole, or a greeting that is lost, is waited for as long
	var tried []string
	for range 8 {
		_, err := b.try(w.mode)
		if err == nil {
			break
		}
		tried = append(tried, err.Error())
	}
	for _, m := range meddlers {
		m.Plan()
	}

	defer func() {
		if t.Failed() {
			for _, l := range links {
				t.Logf("planned: %+v", l.Fault)
			}
			t.Logf("struck: %q\npasses that failed: %q", chain.Struck(), tried)
		}
	}()
	b = engine(20 * time.Second)
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
	return chain
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
	for _, side := range []map[string][]imaptest.Mail{want, got} {
		for _, mails := range side {
			for i := range mails {
				if c.unmarked {
					mails[i].Date, mails[i].Flags = time.Time{}, nil
				}
			}
		}
	}
	lines := imaptest.Diff(want, got, nil)
	if len(lines) > 0 {
		c.t.Errorf("%d differences:\n%s", len(lines), strings.Join(lines[:min(len(lines), 10)], "\n"))
	}
}
