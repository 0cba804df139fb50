package imap_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// compressing are servers that offer COMPRESS=DEFLATE.
var compressing = map[string]func(t *testing.T) (address string){
	"dovecot": func(t *testing.T) string {
		return imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{"a@example.com": password},
			Settings: "mail_plugins = zlib\nprotocol imap {\n mail_plugins = zlib imap_zlib\n}"}).Address()
	},
	"cyrus": func(t *testing.T) string {
		return imaptest.StartCyrus(t, imaptest.CyrusOptions{Accounts: map[string]string{"a@example.com": password}}).Address()
	},
}

// TestCompressed sends and reads messages through a compressed session: they arrive as they are, in far fewer octets.
func TestCompressed(t *testing.T) {
	body := []byte("Subject: x\r\n\r\n" + strings.Repeat("The same line again and again.\r\n", 20_000))
	for name, start := range compressing {
		t.Run(name, func(t *testing.T) {
			proxy := imaptest.NewProxy(t, start(t), 10*time.Millisecond)
			d := &imap.Dialer{Secrets: passwords(password), Spool: t.TempDir(), Host: plan.Host{Hostname: "127.0.0.1", Port: proxy.Port(), TLS: plan.TLSNone,
				Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}, Limits: plan.Limits{StallTimeout: 30 * time.Second}}}
			s, err := d.Connect(t.Context(), providers.Account{Address: "a@example.com"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if !s.Has("COMPRESS=DEFLATE") {
				t.Skip("this build of the server doesn't offer COMPRESS=DEFLATE")
			}
			for range 2 {
				if err := s.Compress(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			proxy.Reset()
			var batch []imap.Message
			for range 3 {
				batch = append(batch, imap.Message{Size: int64(len(body)), Body: bytes.NewReader(body)})
			}
			results, err := s.Append(t.Context(), "INBOX", batch)
			if err != nil || !results[0].Done || !results[2].Done {
				t.Fatal(results, err)
			}
			if _, err := s.Examine(t.Context(), "INBOX"); err != nil {
				t.Fatal(err)
			}
			n := 0
			if err := s.FetchBodies(t.Context(), []string{"1:3"}, func(_ imap.Meta, _ int64, b io.Reader) error {
				got, err := io.ReadAll(b)
				if !bytes.Equal(got, body) {
					t.Errorf("message %d comes back as %d octets, want %d", n, len(got), len(body))
				}
				n++
				return err
			}); err != nil || n != 3 {
				t.Fatal(n, err)
			}
			if x := proxy.Traffic(); x.Out > int64(len(body)) || x.In > int64(len(body)) {
				t.Errorf("%d octets out and %d in, for three times %d each way", x.Out, x.In, len(body))
			}
		})
	}
}
