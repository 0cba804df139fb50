package imaptest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestCorpusArrivesAtDovecot(t *testing.T) {
	for _, store := range []string{"maildir", "mdbox"} {
		t.Run(store, func(t *testing.T) {
			mails := Generate(1, 400)
			d := StartDovecot(t, DovecotOptions{Store: store, Accounts: map[string]string{"a@example.com": "one"}})
			Fill(t, d.TLSAddress(), d.Client(), "a@example.com", "one", "/", "", mails)
			checkCorpus(t, mails, Read(t, d.Address(), nil, "a@example.com", "one"))
		})
	}
}

func checkCorpus(t *testing.T, mails []GeneratedMail, got map[string][]Mail) {
	t.Helper()
	want := map[string][]Mail{}
	for name := range got {
		want[name] = nil // folders that the server makes by itself
	}
	for _, m := range mails {
		want[m.Folder] = append(want[m.Folder], m.Mail())
	}
	if lines := Diff(want, got, nil); len(lines) > 0 {
		t.Fatalf("%d differences, the first:\n%s", len(lines), strings.Join(lines[:min(len(lines), 8)], "\n"))
	}
}

func TestDovecotPasswords(t *testing.T) {
	d := StartDovecot(t, DovecotOptions{Accounts: map[string]string{"a@example.com": "one", "b@example.com": "two"}})
	login := func(user, password string) bool {
		c, err := connect(d.Address(), nil, user, password)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !login("a@example.com", "one") || login("a@example.com", "two") {
		t.Fatal("the password is not looked at")
	}
	d.Disable("a@example.com")
	if login("a@example.com", "one") || !login("b@example.com", "two") {
		t.Fatal("Disable closes one account and no other")
	}
	d.SetPassword("a@example.com", "new")
	if !login("a@example.com", "new") {
		t.Fatal("SetPassword lets the account in again")
	}
	d.Restart()
	if !login("a@example.com", "new") {
		t.Fatal("the server is not back")
	}
}

func TestMemory(t *testing.T) {
	m, err := NewMemory(MemoryOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.AddAccount("a@example.com", "one")
	if err := m.AddFolder("a@example.com", "Sent", `\Sent`); err != nil {
		t.Fatal(err)
	}
	mails := Generate(2, 200)
	for _, g := range mails[:100] {
		if _, err := m.Deliver("a@example.com", g.Folder, g.Octets, g.Flags, g.Date); err != nil {
			t.Fatal(err)
		}
	}
	Fill(t, m.Address(), m.Authority().Client(), "a@example.com", "one", "/", "", mails[100:])
	if err := m.Disable("a@example.com"); err != nil {
		t.Fatal(err)
	}
	if c, err := connect(m.Address(), m.Authority().Client(), "a@example.com", "one"); err == nil {
		c.Close()
		t.Fatal("a disabled account logs in")
	}
	got, err := m.Snapshot("a@example.com")
	if err != nil {
		t.Fatal(err)
	}
	for i := range mails { // as Memory says of itself
		if !bytes.Contains(mails[i].Octets, []byte("\r\n\r\n")) && !bytes.HasPrefix(mails[i].Octets, []byte("\r\n")) {
			mails[i].Octets = append(slices.Clone(mails[i].Octets), "\r\n"...)
		}
	}
	checkCorpus(t, mails, got)
}

func TestDiffSeesEverything(t *testing.T) {
	g := Generate(3, 20)
	base := func() map[string][]Mail {
		all := map[string][]Mail{}
		for _, m := range g {
			all["INBOX"] = append(all["INBOX"], m.Mail())
		}
		return all
	}
	if lines := Diff(base(), base(), nil); len(lines) != 0 {
		t.Fatalf("equal accounts differ: %v", lines)
	}
	for name, change := range map[string]func(map[string][]Mail){
		"a message less":  func(a map[string][]Mail) { a["INBOX"] = a["INBOX"][1:] },
		"a message more":  func(a map[string][]Mail) { a["INBOX"] = append(a["INBOX"], a["INBOX"][0]) },
		"a flag":          func(a map[string][]Mail) { a["INBOX"][3].Flags = []string{"other"} },
		"a date":          func(a map[string][]Mail) { a["INBOX"][3].Date = a["INBOX"][3].Date.Add(1e9) },
		"an octet":        func(a map[string][]Mail) { a["INBOX"][3].SHA256 = "00" },
		"another folder":  func(a map[string][]Mail) { a["X"], a["INBOX"] = a["INBOX"][:1], a["INBOX"][1:] },
		"a folder is not": func(a map[string][]Mail) { delete(a, "INBOX") },
	} {
		other := base()
		change(other)
		if len(Diff(base(), other, nil)) == 0 {
			t.Errorf("%s makes no difference", name)
		}
	}
}
