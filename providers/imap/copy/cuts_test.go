package copy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

var (
	allPoints = flag.Bool("all-points", false, "go through every point of interruption instead of some (make torture)")
	seed      = flag.Uint64("points-seed", 20783, "which points are drawn")
)

// draw chooses n of points.
func draw(t *testing.T, points, n int) []int {
	t.Helper()
	if *allPoints {
		n = points
	}
	s := *seed
	t.Logf("-points-seed %d", s)
	return rand.New(rand.NewPCG(s, uint64(points))).Perm(points)[:min(n, points)]
}

// twoHundred are messages with everything that may be confused: twins, the same Message-ID with other bodies, none.
func twoHundred() []imaptest.GeneratedMail {
	mails := imaptest.Generate(77, 180)
	for i := range 20 {
		m := mail("INBOX", "twin")
		switch i % 4 {
		case 1:
			m.Octets = []byte("From: a@acme.example\r\nSubject: twin\r\nMessage-ID: <twin@acme.example>\r\n\r\nanother body\r\n")
		case 2:
			m.Octets = []byte("Subject: no Message-ID\r\n\r\nthe same\r\n")
		}
		mails = append(mails, m)
	}
	return mails
}

// pair are a source with two hundred messages and a target with many accounts.
type pair struct {
	src, dst server
	next     int
	grace    time.Duration // longer than what a server still does when its connection is gone
	add      func(account string)
}

// fresh is the target with an account that nobody has used.
func (p *pair) fresh() server {
	d := p.dst
	d.account = fmt.Sprintf("anna%d@acme.example", p.next)
	p.next++
	p.add(d.account)
	return d
}

var pairs = map[string]func(testing.TB) *pair{
	"dovecot": func(t testing.TB) *pair {
		accounts := map[string]string{}
		for i := range 1000 {
			accounts[fmt.Sprintf("anna%d@acme.example", i)] = password
		}
		a := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{user: password}})
		b := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: accounts})
		return &pair{src: server{address: a.Address()}, dst: server{address: b.Address()}, grace: time.Second, add: func(string) {}}
	},
	"memory": func(t testing.TB) *pair {
		var ends []*imaptest.Memory
		for range 2 {
			m, err := imaptest.NewMemory(imaptest.MemoryOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			ends = append(ends, m)
		}
		ends[0].AddAccount(user, password)
		return &pair{grace: 30 * time.Millisecond, src: server{address: ends[0].Address()}, dst: server{address: ends[1].Address()}, add: func(a string) { ends[1].AddAccount(a, password) }}
	},
}

// cutBench is an engine with a meddler before each side.
func (p *pair) cutBench(t *testing.T) (b *bench, source, target *imaptest.Meddler) {
	t.Helper()
	source, target = imaptest.NewMeddler(t, p.src.address), imaptest.NewMeddler(t, p.dst.address)
	b = newBench(t, p.src, p.fresh(), t.TempDir(), func(s, d *plan.Host) {
		s.Port, d.Port = source.Port(), target.Port()
		d.Limits.DoubtGrace = p.grace
	})
	b.mailbox.Deletes = "mirror"
	return b, source, target
}

// finishes makes passes until one comes to its end.
func (b *bench) finishes(mode providers.PassMode) {
	b.t.Helper()
	for try := 0; ; try++ {
		_, err := b.try(mode)
		if err == nil {
			return
		}
		if try > 3 {
			b.t.Fatal(err)
		}
	}
}

// point is where a connection is cut: at the nth tagged answer of one side, before or after it.
type point struct {
	side  string
	n     int
	after bool
}

func (p point) fault() imaptest.Fault {
	if p.after {
		return imaptest.Fault{Kind: imaptest.CutAfterAnswer, At: p.n}
	}
	return imaptest.Fault{Kind: imaptest.CutBeforeAnswer, At: p.n}
}

func pointsOf(sides map[string][]string) (points []point) {
	for _, side := range []string{"source", "target"} {
		for n := range sides[side] {
			points = append(points, point{side, n + 1, false}, point{side, n + 1, true})
		}
	}
	return points
}

// TestCutAtTaggedAnswers cuts the connection to one side at one tagged answer of a copy of two hundred
// messages: right before the answer, and right after it. Then the copy goes on: in the end each message is there once,
// and the next pass has nothing to do. After the flip everything goes by way of staging folders.
func TestCutAtTaggedAnswers(t *testing.T) {
	for name, start := range pairs {
		for _, mode := range []providers.PassMode{providers.BeforeFlip, providers.AfterFlip} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				t.Parallel()
				pair := start(t)
				pair.src.fill(t, twoHundred())
				b, source, target := pair.cutBench(t)
				b.pass(mode)
				b.equal()
				sides := map[string][]string{"source": source.Answered(), "target": target.Answered()}
				points := pointsOf(sides)
				cuts := 0
				for _, i := range draw(t, len(points), 5) {
					p := points[i]
					t.Run(fmt.Sprintf("%s/%d %s/%v", p.side, p.n, sides[p.side][p.n-1], p.after), func(t *testing.T) {
						b, source, target := pair.cutBench(t)
						meddler := source
						if p.side == "target" {
							meddler = target
						}
						meddler.Plan(p.fault())
						b.finishes(mode)
						cuts += len(meddler.Struck())
						meddler.Plan()
						b.equal()
						b.idle(mode)
					})
				}
				if cuts == 0 {
					t.Error("nothing was cut")
				}
				inflicted.Count(t, "faults", cuts)
				t.Logf("%d of %d points; the target answers %s", cuts, len(points), tally(sides["target"]))
			})
		}
	}
}

// tally counts words.
func tally(words []string) string {
	n := map[string]int{}
	var order []string
	for _, w := range words {
		if n[w]++; n[w] == 1 {
			order = append(order, w)
		}
	}
	var b strings.Builder
	for _, w := range order {
		fmt.Fprintf(&b, "%d %s, ", n[w], w)
	}
	return strings.TrimSuffix(b.String(), ", ")
}
