package copy

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

func boxName(i int) string { return fmt.Sprintf("box%d@acme.example", i) }

// copyMany makes a pass over each of n mailboxes at the same time and ends the process. It prints the most memory that was resident.
func copyMany(e *Engine, like plan.Mailbox, n int) {
	var wg sync.WaitGroup
	for i := range n {
		m := like
		m.Source, m.Target = boxName(i), boxName(i)
		wg.Go(func() {
			if _, err := e.Pass(context.Background(), providers.PassSpec{Mailbox: m, Mode: providers.BeforeFlip}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		})
	}
	wg.Wait()
	fmt.Println("peak", residentMost())
	os.Exit(0)
}

// residentMost is the most resident memory this process has had in MiB, 0 where the system doesn't say.
func residentMost() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

// TestMemoryIsBoundedForAllMailboxes copies ten mailboxes at the same time, five of them with a large message: 150 MB with
// -all-points, 30 MB else. What is resident does not depend on it.
func TestMemoryIsBoundedForAllMailboxes(t *testing.T) {
	size := int64(30 << 20)
	if *allPoints {
		size = 150 << 20
	}
	const boxes = 10
	o := imaptest.DovecotOptions{Accounts: map[string]string{user: password}}
	for i := range boxes {
		o.Accounts[boxName(i)] = password
	}
	a, z := imaptest.StartDovecot(t, o), imaptest.StartDovecot(t, o)
	src, dst := server{address: a.Address()}, server{address: z.Address()}
	for i := range boxes {
		src.account = boxName(i)
		src.fill(t, imaptest.Generate(uint64(i), 150))
		if i%2 == 0 {
			large(t, src, size)
		}
	}
	out, finished := child(t, src, dst, t.TempDir(), providers.BeforeFlip, childBoxes+"="+strconv.Itoa(boxes))
	var peak float64
	if _, err := fmt.Sscanf(out, "peak %f", &peak); err != nil || !finished {
		t.Fatalf("the child printed %q", out)
	}
	for i := range boxes {
		src.account, dst.account = boxName(i), boxName(i)
		if lines := imaptest.Diff(src.read(t), dst.read(t), nil); len(lines) > 0 {
			t.Fatalf("mailbox %d: %v", i, lines[:1])
		}
	}
	t.Logf("%d mailboxes, five with a message of %d MiB: at most %.0f MiB resident", boxes, size>>20, peak)
	if peak > 150 || peak == 0 {
		t.Errorf("%.0f MiB were resident", peak)
	}
}

// large delivers a message of that many octets without the memory for it.
func large(t *testing.T, s server, size int64) {
	t.Helper()
	x := newBench(t, s, s, t.TempDir(), func(a, _ *plan.Host) { a.Limits.StallTimeout = time.Minute }).source
	c, err := x.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const head = "Subject: large\r\n\r\n"
	body := io.MultiReader(strings.NewReader(head), &repeated{size: size - int64(len(head))})
	wait, err := c.StartAppend(t.Context(), "INBOX", []imap.Message{{Size: size, Body: body, InternalDate: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := wait(); err != nil || !a[0].Done {
		t.Fatal(err, a)
	}
}
