package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
	"github.com/mxodus/mxodus/state"
)

// The ports of the lab, counted from its base.
const (
	labOld  = 143
	labNew  = 243
	labDNS  = 53
	labMX   = 25
	labBase = 10000
)

// labEvery is how often the panels are read.
const labEvery = 300 * time.Millisecond

// lab is a company's servers without a migration: whoever learns mxodus is the
// administrator. The panels of both hosts are text files with an address a line.
type lab struct {
	*labWorld
	app   *app
	dir   string
	there map[string]bool // addresses that each panel has now, by file and address
	boxes map[string]bool // mailboxes that the new host has had
}

// The panels, in the lab's folder.
const (
	labOldPanel = "old-host.txt"
	labNewPanel = "new-host.txt"
)

// runLab starts the servers and keeps them until it is interrupted.
func (a *app) runLab(ctx context.Context, dir string, base, messages int) error {
	if base != 0 && (base < 1024 || base > 65000) {
		return usage("-ports wants a number from 1024 to 65000")
	}
	if err := emptyFolder(dir); err != nil {
		return err
	}
	w, err := newLabWorld(a, base, messages)
	if err != nil {
		return err
	}
	defer w.close()
	l := &lab{labWorld: w, app: a, dir: dir, there: map[string]bool{}, boxes: map[string]bool{}}
	if err := l.files(); err != nil {
		return err
	}
	l.panels()
	if err := l.say(); err != nil {
		return err
	}
	for {
		select {
		case <-a.stop:
			return exit(exitInterrupted)
		case <-ctx.Done():
			return exit(exitInterrupted)
		default:
		}
		if err := a.clock.Sleep(ctx, labEvery); err != nil {
			return exit(exitInterrupted)
		}
		l.panels()
	}
}

// newLabWorld is the demo's company at known ports. Some of its mail is for an address that
// nobody has listed.
func newLabWorld(a *app, base, messages int) (w *labWorld, err error) {
	w = &labWorld{clock: a.clock, key: demoKey()}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	at := func(port int) string {
		if base == 0 {
			return "127.0.0.1:0"
		}
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+port))
	}
	if w.old, err = imaptest.NewMemory(imaptest.MemoryOptions{Listen: at(labOld)}); err != nil {
		return nil, fmt.Errorf("%w; -ports takes other ports", err)
	}
	if w.new, err = imaptest.NewMemory(imaptest.MemoryOptions{Listen: at(labNew)}); err != nil {
		return nil, fmt.Errorf("%w; -ports takes other ports", err)
	}
	if w.zone, err = dnstest.NewZone("acme.example.", demoZone, a.clock); err != nil {
		return nil, err
	}
	if w.ns1, err = dnstest.Listen(at(labDNS), &w.key, w.zone); err != nil {
		return nil, fmt.Errorf("%w; -ports takes other ports", err)
	}
	if w.newMX, err = smtptest.Start(smtptest.Config{Listen: at(labMX), Deliver: w.deliver}); err != nil {
		return nil, fmt.Errorf("%w; -ports takes other ports", err)
	}
	if err = w.plant(messages); err != nil {
		return nil, err
	}
	for i := range 5 {
		octets := fmt.Appendf(nil, "From: customer@other.example\r\nTo: info@acme.example\r\nSubject: A question %d\r\nMessage-ID: <question%d@other.example>\r\nDate: Mon, 02 Nov 2026 09:00:00 +0000\r\n\r\nHow much is it?\r\n", i, i)
		if _, err = w.old.Deliver(demoPeople[0], "INBOX", octets, nil, time.Unix(1793610000, 0)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// files are what an administrator would have: an export with passwords, the key of the zone, the panels.
func (l *lab) files() error {
	var b strings.Builder
	c := csv.NewWriter(&b)
	c.Comma = ';'
	rows := [][]string{{"E-Mail-Adresse", "Anzeigename", "Kennwort", "Neues Kennwort"}}
	for i, p := range demoPeople {
		rows = append(rows, []string{p, demoNames[i], demoPassword, demoPassword})
	}
	if err := c.WriteAll(rows); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"people.csv": b.String(), "tsig.txt": l.key.Secret + "\n",
		labOldPanel: strings.Join(demoPeople, "\n") + "\n", labNewPanel: strings.Join(demoPeople[:2], "\n") + "\n",
	} {
		if err := state.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// panels does what the panels say: who has a line has a mailbox, who is a mailbox of the
// company and has none can't log in. Other addresses of the new host take mail.
func (l *lab) panels() {
	for _, p := range demoPeople[:2] {
		l.boxes[p] = true // plant has made them
	}
	for _, panel := range []string{labOldPanel, labNewPanel} {
		data, err := os.ReadFile(filepath.Join(l.dir, panel))
		if err != nil {
			continue // an editor is writing it
		}
		now := strings.Fields(strings.ToLower(string(data)))
		for _, address := range now {
			if !l.there[panel+address] {
				l.there[panel+address] = true
				l.add(panel, address)
			}
		}
		for key := range l.there {
			if address, ok := strings.CutPrefix(key, panel); ok && !slices.Contains(now, address) {
				delete(l.there, key)
				l.remove(panel, address)
			}
		}
	}
}

func (l *lab) add(panel, address string) {
	known := slices.Contains(demoPeople, address)
	if panel == labOldPanel {
		if known {
			_ = l.old.SetPassword(address, demoPassword)
		}
		return
	}
	l.newMX.Accept(address)
	switch {
	case !known:
	case l.boxes[address]:
		_ = l.new.SetPassword(address, demoPassword)
	default:
		l.boxes[address] = true
		_ = l.account(address)
	}
}

func (l *lab) remove(panel, address string) {
	if panel == labNewPanel {
		l.newMX.Refuse(address)
	}
	if slices.Contains(demoPeople, address) {
		server := l.old
		if panel == labNewPanel {
			server = l.new
		}
		_ = server.Disable(address)
	}
}

func (l *lab) say() error {
	in := func(name string) string { return render.Escape(l.app.name(filepath.Join(l.dir, name))) }
	return l.app.say("The servers of a small company run on 127.0.0.1 until you press Ctrl-C.\n\n"+
		"  old host   IMAP %-16s its panel is the file %s\n"+
		"  new host   IMAP %-16s its panel is the file %s\n"+
		"             SMTP %-16s its mail exchanger\n"+
		"  zone       DNS  %-16s acme.example; the key is in %s\n\n"+
		"A panel has an address a line: whoever has one has a mailbox, or takes mail. %s is\nthe old host's list of its mailboxes, with passwords.\n",
		l.old.Address(), in(labOldPanel), l.new.Address(), in(labNewPanel), l.newMX.Addr, l.ns1.Addr(), in("tsig.txt"), in("people.csv"))
}
