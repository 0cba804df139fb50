package imaptest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestChain: the second fault waits for the first, and for a connection opened after it where that one ended its own.
func TestChain(t *testing.T) {
	s, err := NewMemory(MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	m := NewMeddler(t, s.Address())
	c := NewChain(
		Link{m, Fault{Kind: CutBeforeAnswer, At: 3}},
		Link{m, Fault{Kind: RefuseCommand, At: 2, Text: "NO later"}},
		Link{m, Fault{Kind: CutAfterAnswer, At: 1}},
	)
	dial := func() (ask func() string) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.Port()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		r := bufio.NewReader(conn)
		r.ReadString('\n')
		return func() string {
			fmt.Fprintf(conn, "A1 NOOP\r\n")
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return "gone"
				}
				if answer, ok := strings.CutPrefix(line, "A1 "); ok {
					return answer[:2]
				}
			}
		}
	}
	var got []string
	first, old := dial(), dial()
	for _, ask := range []func() string{first, old, first, old, old} { // the third answer is cut; "old" was there before
		got = append(got, ask())
	}
	fresh := dial()
	got = append(got, fresh(), fresh()) // its first answer passes, and then it's cut
	last := dial()
	got = append(got, last(), last(), last())
	if want := "OK OK gone OK OK OK gone OK NO OK"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := len(c.Struck()); n != 3 || c.Pairs() != 2 {
		t.Errorf("%d faults struck, %d pairs: %q", n, c.Pairs(), c.Struck())
	}
}
