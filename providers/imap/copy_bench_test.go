package imap_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// BenchmarkCopy moves 2,000 messages from one Dovecot to another over one connection each.
func BenchmarkCopy(b *testing.B) {
	accounts := map[string]string{user: password}
	source := imaptest.StartDovecot(b, imaptest.DovecotOptions{Accounts: accounts})
	target := imaptest.StartDovecot(b, imaptest.DovecotOptions{Accounts: accounts, Store: "mdbox"})
	mails := imaptest.Generate(11, 2000)
	for i := range mails {
		mails[i].Folder = "INBOX"
	}
	imaptest.Fill(b, source.Address(), nil, user, password, "/", "", mails)
	open := func(d *imaptest.Dovecot) *imap.Session {
		srv := server{host: plan.Host{Hostname: "localhost", Port: d.TLSPort(), CAFile: d.CAFile()}}
		s, err := srv.dialer().Connect(b.Context(), providers.Account{Address: user})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	from, to := open(source), open(target)
	defer from.Close()
	defer to.Close()
	if _, err := from.Examine(b.Context(), "INBOX"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var batch []imap.Message
		octets := int64(0)
		var waits []func() ([]imap.Appended, error)
		flush := func() error {
			wait, err := to.StartAppend(b.Context(), "INBOX", batch)
			waits = append(waits, wait)
			batch, octets = nil, 0
			return err
		}
		err := from.FetchBodies(b.Context(), []string{"1:500", "501:1000", "1001:1500", "1501:2000"}, func(m imap.Meta, size int64, body io.Reader) error {
			text, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			batch = append(batch, imap.Message{Flags: m.Flags, InternalDate: m.InternalDate, Size: size, Body: bytes.NewReader(text)})
			if octets += size; octets > 1<<20 || len(batch) == 100 {
				return flush()
			}
			return nil
		})
		if err == nil && len(batch) > 0 {
			err = flush()
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				b.Fatal(err)
			}
		}
	}
	_, in, _ := from.Traffic()
	b.SetBytes(in / int64(b.N))
}
