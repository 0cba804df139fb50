package peers

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// raw is a connection that is logged in.
type raw struct {
	io.Closer
	r *bufio.Reader
	w *bufio.Writer
}

func dialRaw(address string, config *tls.Config, user string) (*raw, error) {
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	x := &raw{c, bufio.NewReaderSize(c, 256<<10), bufio.NewWriterSize(c, 256<<10)}
	fmt.Fprintf(x.w, "L LOGIN %q %q\r\n", user, password)
	if err := x.w.Flush(); err != nil {
		return nil, err
	}
	return x, x.until("L ", nil)
}

// until reads lines up to the one with that tag, which has to be OK.
func (x *raw) until(tag string, line func(string) error) error {
	for {
		s, err := x.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(s, tag) {
			if !strings.HasPrefix(s[len(tag):], "OK") {
				return fmt.Errorf("refused: %s", s)
			}
			return nil
		}
		if line != nil {
			if err := line(s); err != nil {
				return err
			}
		}
	}
}

var (
	listLine  = regexp.MustCompile(`^\* LIST \(([^)]*)\) "." (.*)\r\n$`)
	fetchLine = regexp.MustCompile(`^\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) INTERNALDATE ("[^"]*") BODY\[\] \{(\d+)\}\r\n$`)
	statusEnd = regexp.MustCompile(`MESSAGES (\d+)`)
)

// list returns the names of folders as they are on the wire, quotes included.
func (x *raw) list() (names []string, err error) {
	fmt.Fprintf(x.w, "S LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))\r\n")
	if err := x.w.Flush(); err != nil {
		return nil, err
	}
	err = x.until("S ", func(s string) error {
		if m := listLine.FindStringSubmatch(s); m != nil && !strings.Contains(m[1], "Noselect") && !strings.Contains(m[1], "NonExistent") {
			names = append(names, m[2])
		} else if m == nil && !statusEnd.MatchString(s) {
			return fmt.Errorf("a line the floor can't read: %q", s)
		}
		return nil
	})
	return names, err
}

// floorScan lists both sides at the same time: the least that a pass over a mailbox in which
// nothing has changed can do.
func floorScan(t testing.TB, source, target string, config *tls.Config, from, to string) {
	t.Helper()
	errs := make(chan error, 2)
	for _, end := range [][2]string{{source, from}, {target, to}} {
		go func() {
			x, err := dialRaw(end[0], config, end[1])
			if err == nil {
				_, err = x.list()
				x.Close()
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// floorCopy copies a mailbox over one connection a side: FETCH and APPEND are
// pipelined, with batch messages in one MULTIAPPEND (1 = none). It checks nothing, remembers
// nothing and can't be run twice.
func floorCopy(t testing.TB, source, target string, config *tls.Config, from, to string, batch int) {
	t.Helper()
	if err := copyRaw(source, target, config, from, to, batch); err != nil {
		t.Fatal("floor: ", err)
	}
}

func copyRaw(source, target string, config *tls.Config, from, to string, batch int) error {
	var src, dst *raw
	errs := make(chan error, 2)
	go func() (err error) { src, err = dialRaw(source, config, from); errs <- err; return }()
	go func() (err error) { dst, err = dialRaw(target, config, to); errs <- err; return }()
	for range 2 {
		if err := <-errs; err != nil {
			return err
		}
	}
	defer src.Close()
	defer dst.Close()
	folders, err := src.list()
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	sent := make(chan int, 1)
	go func() { // reads the target's answers
		want, got := -1, 0
		for want < 0 || got < want {
			s, err := dst.r.ReadString('\n')
			if err != nil {
				answered <- err
				return
			}
			if strings.HasPrefix(s, "A ") {
				got++
				if !strings.HasPrefix(s, "A OK") && !strings.Contains(s, "ALREADYEXISTS") {
					answered <- fmt.Errorf("refused: %s", s)
					return
				}
			}
			if want < 0 {
				select {
				case want = <-sent:
				default:
				}
			}
			if strings.HasPrefix(s, "Z OK") {
				want = <-sent
			}
		}
		answered <- nil
	}()
	go func() { // asks the source for everything
		for _, f := range folders {
			fmt.Fprintf(src.w, "E EXAMINE %s\r\nF UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n", f)
		}
		src.w.Flush()
	}()
	commands := 0
	for _, f := range folders {
		if f != "INBOX" && f != `"INBOX"` {
			fmt.Fprintf(dst.w, "A CREATE %s\r\n", f)
			commands++
		}
		if err := src.until("E ", nil); err != nil {
			return err
		}
		n := 0
		if err := src.until("F ", func(s string) error {
			m := fetchLine.FindStringSubmatch(s)
			if m == nil {
				return nil
			}
			size, _ := strconv.Atoi(m[3])
			if n%batch == 0 {
				if n > 0 {
					dst.w.WriteString("\r\n")
				}
				fmt.Fprintf(dst.w, "A APPEND %s", f)
				commands++
			}
			n++
			fmt.Fprintf(dst.w, " (%s) %s {%d+}\r\n", strings.TrimSpace(strings.ReplaceAll(m[1], `\Recent`, "")), m[2], size)
			if _, err := io.CopyN(dst.w, src.r, int64(size)); err != nil {
				return err
			}
			_, err := src.r.ReadString('\n') // ")"
			return err
		}); err != nil {
			return err
		}
		if n > 0 {
			dst.w.WriteString("\r\n")
		}
	}
	dst.w.WriteString("Z NOOP\r\n")
	if err := dst.w.Flush(); err != nil {
		return err
	}
	sent <- commands
	return <-answered
}

// TestFloorCopies makes sure that the yardstick does what it is measured for.
func TestFloorCopies(t *testing.T) {
	w := newWorld(t, corpus{messages: 60, folders: 7, octets: 1 << 20}, 2, 0)
	for i, batch := range []int{1, 100} {
		to := w.accounts[i]
		floorCopy(t, w.source.TLSAddress(), w.target.TLSAddress(), w.trust(), sourceUser, to, batch)
		a := imaptest.Read(t, w.source.Address(), nil, sourceUser, password)
		b := imaptest.Read(t, w.target.Address(), nil, to, password)
		if lines := imaptest.Diff(a, b, nil); len(lines) > 0 {
			t.Errorf("batches of %d: %d differences: %s", batch, len(lines), bytes.NewBufferString(strings.Join(lines[:min(5, len(lines))], "\n")))
		}
	}
}
