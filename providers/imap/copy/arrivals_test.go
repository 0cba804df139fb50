package copy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// What reached the source after a moment is told once, with what its servers wrote into the header.
func TestArrivals(t *testing.T) {
	for name, start := range map[string]func(testing.TB) (server, server){"Dovecot": dovecots, "memory": memories} {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			flip := time.Date(2026, 1, 15, 18, 0, 0, 0, time.UTC)
			mail := func(n int, at time.Time) imaptest.GeneratedMail {
				return imaptest.GeneratedMail{Folder: "INBOX", Date: at, Octets: fmt.Appendf(nil, "Received: from out%d.example (out%d.example [192.0.2.%d])\r\n\tby mx.old.example with ESMTP; %s\r\nMessage-ID: <m%d@out.example>\r\nFrom: a%d@out.example\r\nSubject: secret words\r\n\r\nbody\r\n", n, n, n, at.Format(time.RFC1123Z), n, n)}
			}
			src.fill(t, []imaptest.GeneratedMail{mail(1, flip.Add(-time.Hour)), mail(2, flip), mail(3, flip.Add(time.Hour))})
			b := newBench(t, src, dst, t.TempDir(), nil)
			b.pass(providers.AfterFlip)
			seen := map[string]bool{}
			look := func(limit int) (ids []string) {
				err := b.engine.Arrivals(t.Context(), b.mailbox, flip, limit,
					func(folder string, v, uid uint32) bool { return seen[fmt.Sprint(folder, v, uid)] },
					func(a providers.Arrival) error {
						seen[fmt.Sprint(a.Folder, a.UIDValidity, a.UID)] = true
						ids = append(ids, a.MessageID+" "+string(a.Header))
						return nil
					})
				if err != nil {
					t.Fatal(err)
				}
				return ids
			}
			first, second, third := look(1), look(10), look(10)
			if len(first) != 1 || len(second) != 1 || len(third) != 0 {
				t.Fatalf("%q, then %q, then %q", first, second, third)
			}
			for i, got := range []string{first[0], second[0]} {
				for _, want := range []string{fmt.Sprintf("m%d@out.example", i+2), fmt.Sprintf("out%d.example [192.0.2.%d]", i+2, i+2), fmt.Sprintf("From: a%d@out.example", i+2)} {
					if !strings.Contains(got, want) {
						t.Errorf("%q holds no %q", got, want)
					}
				}
				if strings.Contains(got, "secret words") {
					t.Errorf("%q holds the subject", got)
				}
			}
		})
	}
}

// A message is found by its ID in whatever folder it is, and others whose ID holds that one are not.
func TestFind(t *testing.T) {
	for name, start := range map[string]func(testing.TB) (server, server){"Dovecot": dovecots, "memory": memories} {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			at := time.Date(2026, 1, 15, 18, 0, 0, 0, time.UTC)
			mail := func(folder, id, subject string) imaptest.GeneratedMail {
				return imaptest.GeneratedMail{Folder: folder, Date: at, Octets: []byte("Message-ID: <" + id + ">\r\nSubject: " + subject + "\r\n\r\n<tok.probe@out.example>\r\n")}
			}
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "other@out.example", "mxodus probe abc"), mail("Archive", "tok.probe@out.example", "x"), mail("INBOX", "1tok.probe@out.example", "y")})
			b := newBench(t, src, dst, t.TempDir(), nil)
			h, err := b.engine.o.Source("")
			if err != nil {
				t.Fatal(err)
			}
			find := func(q providers.Query) []providers.Found {
				list, err := imap.Host{Dialer: h}.Find(t.Context(), providers.Account{Address: user}, q)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			if got := find(providers.Query{MessageID: "tok.probe@out.example"}); len(got) != 1 || got[0].Folder != "Archive" || !strings.Contains(string(got[0].Octets), "Subject: x") || !got[0].At.Equal(at) {
				t.Errorf("by ID: %+v", got)
			}
			if got := find(providers.Query{Subject: "probe abc"}); len(got) != 1 || got[0].Folder != "INBOX" {
				t.Errorf("by subject: %+v", got)
			}
			if got := find(providers.Query{MessageID: "none@out.example"}); len(got) != 0 {
				t.Errorf("what isn't there: %+v", got)
			}
		})
	}
}
