package load

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

var (
	whole     = flag.Bool("load", false, "run the whole table of loads (make load)")
	messages  = flag.Int("load-messages", 1_000_000, "messages of the large mailbox")
	unchanged = flag.Int("load-unchanged", 500_000, "messages of the folder in which nothing is new")
	gigabytes = flag.Int("load-gigabytes", 0, "GB that go through; 0 = as many as fit into -load-through, 100 at most")
	most      = flag.Duration("load-through", 7*time.Minute, "how long they may take, as far as that can be foreseen")
	folders   = flag.Int("load-folders", 10_000, "folders of the mailbox with many")
	mailboxes = flag.Int("load-mailboxes", 2_000, "mailboxes of the large plan")
)

// residentLimit is what the program may have in memory, whatever the mail.
const residentLimit = 150e6

// planLimit is the same for apply with a plan of two thousand mailboxes and sixteen thousand steps, which takes a hundred megabytes by itself.
const planLimit = 250e6

const account = "anna@acme.example"

// row is a line of the table.
type row struct {
	load, hold, measured string
	held                 bool
}

// table prints its rows as they come, and the test fails with one that didn't hold.
type table struct{ rows []row }

func (b *table) add(t *testing.T, r row) {
	b.rows = append(b.rows, r)
	fmt.Printf("%s | %s\n", r.load, r.measured)
	if !r.held {
		t.Errorf("%s: must hold: %s; measured: %s", r.load, r.hold, r.measured)
	}
}

func (b *table) print() {
	lines := [][]string{{"load", "must hold", "measured", "verdict"}}
	for _, r := range b.rows {
		lines = append(lines, []string{r.load, r.hold, r.measured, map[bool]string{true: "holds", false: "DOES NOT HOLD"}[r.held]})
	}
	widths := make([]int, 4)
	for _, l := range lines {
		for i, c := range l {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	fmt.Println()
	for n, l := range lines {
		for i, c := range l {
			fmt.Printf("| %s%s ", c, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		fmt.Println("|")
		if n == 0 {
			fmt.Println("|" + strings.Repeat("---|", len(widths)))
		}
	}
	fmt.Println()
}

func mb(octets int64) string { return fmt.Sprintf("%.0f MB", float64(octets)/1e6) }

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// TestLoad is the table "Load" of the design, at the sizes of the flags. It takes about a quarter of an hour of two idle cores.
func TestLoad(t *testing.T) {
	if !*whole {
		t.Skip("make load runs it; the tests beside it are its small forms")
	}
	if _, most := resident(os.Getpid()); most == 0 {
		t.Fatal("this system doesn't say what a process has in memory (/proc/PID/status): the table can't be measured here")
	}
	var b table
	defer b.print()
	for _, part := range []struct {
		name string
		run  func(*testing.T, *table)
	}{{"mailbox", loadMailbox}, {"unchanged", loadUnchanged}, {"large", loadLarge}, {"octets", loadOctets}, {"plan", loadPlan}} {
		t.Run(part.name, func(t *testing.T) { part.run(t, &b) })
	}
}

// sizes are those of messages in turn.
func sizes(all ...int64) func(uint32) int64 {
	return func(uid uint32) int64 { return all[int(uid)%len(all)] }
}

// inFolders are the messages of every account, shared out over some folders.
func inFolders(n int, names ...string) func(string) []imaptest.BulkFolder {
	return func(string) (list []imaptest.BulkFolder) {
		for i, name := range names {
			list = append(list, imaptest.BulkFolder{Name: name, Messages: uint32((n + i) / len(names))})
		}
		return list
	}
}

// ordinary are sizes of mail without attachments.
var ordinary = sizes(600, 900, 1400, 2500, 5000)

// arrived fails unless every message of an account is there once and as it was.
func arrived(t *testing.T, h *hosts, account string, want int) (octets int64) {
	t.Helper()
	n, octets, err := h.target.Check(account)
	if err != nil {
		t.Fatal(err)
	}
	if n != want {
		t.Fatalf("%s: %d messages arrived, want %d", account, n, want)
	}
	return octets
}

// copied is a first copy of a mailbox of n messages in one folder, over TLS.
func copied(t *testing.T, n int) (e ended) {
	h := newHosts(t, imaptest.BulkMail{Folders: inFolders(n, "INBOX"), Size: ordinary}, true)
	e = h.copyMailbox(t, t.TempDir(), account)
	e.want(t, 0)
	arrived(t, h, account, n)
	return e
}

func loadMailbox(t *testing.T, b *table) {
	e := copied(t, *messages)
	rate := float64(*messages) / e.wall.Seconds()
	b.add(t, row{thousands(*messages) + " messages in one mailbox, TLS", "each once; under 150 MB; 500 messages/s",
		fmt.Sprintf("%s, %s messages/s, %s", seconds(e.wall), thousands(int(rate)), mb(e.peak)), rate >= 500 && e.peak < residentLimit})
}

// twice copies a folder of n messages and then makes a pass in which nothing is new, with CONDSTORE and without.
func twice(t *testing.T, n int) (with, without ended) {
	h := newHosts(t, imaptest.BulkMail{Folders: inFolders(n, "Archive"), Size: sizes(imaptest.BulkLeast)}, false)
	dir := t.TempDir()
	h.copyMailbox(t, dir, account).want(t, 0)
	with = h.copyMailbox(t, dir, account)
	with.want(t, 0)
	h.source.SetCondstore(false)
	h.target.SetCondstore(false)
	without = h.copyMailbox(t, dir, account)
	without.want(t, 0)
	for _, e := range []ended{with, without} {
		if !strings.Contains(e.output, "0 copied (0 B), "+thousands(n)+" unchanged, 0 flags, 0 moved, 0 deleted") {
			t.Fatalf("a pass with nothing to do: %s", e.output)
		}
	}
	arrived(t, h, account, n)
	return with, without
}

func loadUnchanged(t *testing.T, b *table) {
	with, without := twice(t, *unchanged)
	name := thousands(*unchanged) + " messages in one folder, nothing new"
	b.add(t, row{name + ", CONDSTORE", "under 2 s; under 150 MB", seconds(with.wall) + ", " + mb(with.peak), with.wall < 2*time.Second && with.peak < residentLimit})
	b.add(t, row{name + ", none", "under 30 s; under 150 MB", seconds(without.wall) + ", " + mb(without.peak), without.wall < 30*time.Second && without.peak < residentLimit})
}

// largeAtOnce copies five mailboxes at the same time, each with a large message among others.
func largeAtOnce(t *testing.T, size int64) ended {
	h := newHosts(t, imaptest.BulkMail{Folders: inFolders(100, "INBOX"), Size: func(uid uint32) int64 {
		if uid == 50 {
			return size
		}
		return ordinary(uid)
	}}, false)
	list := addresses(5)
	m := newMigration(t, h, list)
	m.run(0, "discover")
	m.run(0, "plan", "-out", "plans/0001.plan")
	e := m.run(0, "apply", "plans/0001.plan")
	for _, a := range list {
		arrived(t, h, a, 100)
	}
	return e
}

func loadLarge(t *testing.T, b *table) {
	e := largeAtOnce(t, 150e6)
	b.add(t, row{"five 150 MB messages at once", "each once; under 150 MB", fmt.Sprintf("%s, %s", seconds(e.wall), mb(e.peak)), e.peak < residentLimit})
}

// through copies so many octets, more or less: one message in 32 has 4 MiB, the others 200 KiB.
func through(t *testing.T, octets int64) (e ended, done int64) {
	size := func(uid uint32) int64 {
		if uid%32 == 0 {
			return 4 << 20
		}
		return 200 << 10
	}
	average := int64(31*(200<<10)+(4<<20)) / 32
	n := int(octets / average)
	h := newHosts(t, imaptest.BulkMail{Folders: inFolders(n, "INBOX", "Sent", "Archive", "Archive/2024", "Projects/Größe"), Size: size}, false)
	e = h.copyMailbox(t, t.TempDir(), account)
	e.want(t, 0)
	return e, arrived(t, h, account, n)
}

// flat reports whether a run that has got going has no more in memory at its end.
func flat(e ended) bool {
	second, last := e.quarters()
	return last < second+second/10+5e6
}

func loadOctets(t *testing.T, b *table) {
	gb := *gigabytes
	if gb == 0 {
		// What this machine does now, without the copy's beginning and end, says how far the time goes.
		pilot, octets := through(t, 2e9)
		gb = min(100, max(2, int(float64(octets)/1e9*most.Seconds()/pilot.wall.Seconds())))
	}
	e, octets := through(t, int64(gb)*1e9)
	second, last := e.quarters()
	b.add(t, row{fmt.Sprintf("%.1f GB through", float64(octets)/1e9), "each once; flat, under 150 MB",
		fmt.Sprintf("%s, %.0f MB/s, %s (second quarter %s, last %s)", seconds(e.wall), float64(octets)/1e6/e.wall.Seconds(), mb(e.peak), mb(second), mb(last)),
		flat(e) && e.peak < residentLimit})
}

// planned are the commands of a large plan.
type planned struct {
	discover, plan, offline, apply, status ended
	messages                               int
}

// manyMailboxes discovers, plans and copies n mailboxes, the first of which has many folders.
func manyMailboxes(t *testing.T, n, folders int) (p planned) {
	list := addresses(n)
	h := newHosts(t, imaptest.BulkMail{Size: ordinary, Folders: func(account string) (all []imaptest.BulkFolder) {
		for _, name := range []string{"INBOX", "Sent", "Drafts", "Trash", "Archiv", "Archiv/2024", "Archiv/2025", "Projekte/Müller & Söhne"} {
			all = append(all, imaptest.BulkFolder{Name: name, Messages: 2})
		}
		for i := len(all); i < folders && account == list[0]; i++ {
			all = append(all, imaptest.BulkFolder{Name: fmt.Sprintf("Kunden/%02d/Vorgang Größe %d", i%100, i), Messages: 1})
		}
		return all
	}}, false)
	m := newMigration(t, h, list)
	p.discover = m.run(0, "discover")
	p.plan = m.run(0, "plan", "-out", "plans/0001.plan")
	p.offline = m.run(0, "plan", "-offline", "-out", "plans/0002.plan")
	p.apply = m.run(0, "apply", "plans/0001.plan")
	p.status = m.run(0, "status", "-json")
	p.messages = n*16 + max(folders-8, 0)
	if boxes, copied := m.counted(p.status); boxes != n || copied != p.messages {
		t.Errorf("status knows %d mailboxes and %d messages copied, want %d and %d", boxes, copied, n, p.messages)
	}
	for i, a := range list {
		want := 16
		if i == 0 {
			want += max(folders-8, 0)
		}
		arrived(t, h, a, want)
	}
	return p
}

func loadPlan(t *testing.T, b *table) {
	p := manyMailboxes(t, *mailboxes, *folders)
	name := fmt.Sprintf("%s mailboxes, one of them with %s folders", thousands(*mailboxes), thousands(*folders))
	b.add(t, row{name + ": discovered and planned", "under 60 s; under 150 MB",
		fmt.Sprintf("discover %s (%s), plan %s (%s)", seconds(p.discover.wall), mb(p.discover.peak), seconds(p.plan.wall), mb(p.plan.peak)),
		p.discover.wall+p.plan.wall < time.Minute && max(p.discover.peak, p.plan.peak) < residentLimit})
	b.add(t, row{name + ": planned offline", "under 10 s of CPU",
		fmt.Sprintf("%s of CPU, %s", seconds(p.offline.cpu), mb(p.offline.peak)), p.offline.cpu < 10*time.Second && p.offline.peak < residentLimit})
	b.add(t, row{name + ": copied", "each once; under 250 MB",
		fmt.Sprintf("%s messages, %s, %s, %d descriptors at most", thousands(p.messages), seconds(p.apply.wall), mb(p.apply.peak), p.apply.files), p.apply.peak < planLimit})
	b.add(t, row{name + ": status", "under 5 s",
		fmt.Sprintf("%s, %s", seconds(p.status.wall), mb(p.status.peak)), p.status.wall < 5*time.Second && p.status.peak < residentLimit})
}
