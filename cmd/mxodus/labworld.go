package main

import (
	"bytes"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// labWorld is the company of the tutorial: two plain IMAP hosts, a zone and a mail exchanger.
type labWorld struct {
	clock    providers.Clock
	old, new *imaptest.Memory
	zone     *dnstest.Zone
	ns1      *dnstest.Server
	newMX    *smtptest.Server
	key      dnstest.Key
}

// labSent is what the old host calls its folder of sent mail.
const labSent = "Gesendete Objekte"

func (w *labWorld) close() {
	for _, m := range []*imaptest.Memory{w.old, w.new} {
		if m != nil {
			m.Close()
		}
	}
	if w.ns1 != nil {
		w.ns1.Close()
	}
	if w.newMX != nil {
		w.newMX.Close()
	}
}

// plant fills the old server. The third mailbox is missing at the new one.
func (w *labWorld) plant(messages int) error {
	for i, p := range demoPeople {
		w.old.AddAccount(p, demoPassword)
		if err := w.old.AddFolder(p, labSent, `\Sent`); err != nil {
			return err
		}
		if i < 2 {
			if err := w.account(p); err != nil {
				return err
			}
		}
	}
	for i, g := range imaptest.Generate(1, messages) {
		// The embedded server completes a header that has no end when the
		// message is read; real servers don't. Such mail is left to the tests.
		if !bytes.Contains(g.Octets, []byte("\r\n\r\n")) {
			continue
		}
		folder := g.Folder
		if folder == "Sent" {
			folder = labSent
		}
		if _, err := w.old.Deliver(demoPeople[i%len(demoPeople)], folder, g.Octets, g.Flags, g.Date); err != nil {
			return err
		}
	}
	return nil
}

// account makes a mailbox at the new server.
func (w *labWorld) account(p string) error {
	w.new.AddAccount(p, demoPassword)
	return w.new.AddFolder(p, "Sent", `\Sent`)
}

// deliver puts what the exchanger takes into the recipient's INBOX.
func (w *labWorld) deliver(m smtptest.Message) error {
	for _, to := range m.To {
		if to == "info@acme.example" {
			to = demoPeople[0]
		}
		if _, err := w.new.Deliver(to, "INBOX", m.Data, nil, w.clock.Now().Truncate(time.Second)); err != nil {
			return err
		}
	}
	return nil
}
