package imaptest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
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

// TestCyrusAndCourier proves that the real servers beside Dovecot are up, tell passwords apart and keep a message.
func TestCyrusAndCourier(t *testing.T) {
	accounts := map[string]string{"a@example.com": "one", "b@example.com": `t"w\o`}
	for name, start := range map[string]func(t *testing.T) (address, separator, prefix string){
		"cyrus": func(t *testing.T) (string, string, string) {
			return StartCyrus(t, CyrusOptions{Accounts: accounts}).Address(), "/", ""
		},
		"courier": func(t *testing.T) (string, string, string) {
			return StartCourier(t, CourierOptions{Accounts: accounts}).Address(), ".", "INBOX."
		},
	} {
		t.Run(name, func(t *testing.T) {
			address, separator, prefix := start(t)
			if c, err := connect(address, nil, "a@example.com", "two"); err == nil {
				c.Close()
				t.Error("the password is not looked at")
			}
			mails := []GeneratedMail{{Folder: "INBOX"}, {Folder: "Some/folder"}}
			for i := range mails {
				mails[i].Octets = []byte("Subject: x\r\n\r\nbody\r\n")
				mails[i].Date = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
				mails[i].Flags = []string{`\Seen`, "keyword"}
			}
			Fill(t, address, nil, "b@example.com", accounts["b@example.com"], separator, prefix, mails)
			got := Read(t, address, nil, "b@example.com", accounts["b@example.com"])
			checkCorpus(t, []GeneratedMail{mails[0]}, map[string][]Mail{"INBOX": got["INBOX"]})
			mails[1].Folder = prefix + strings.ReplaceAll(mails[1].Folder, "/", separator)
			checkCorpus(t, []GeneratedMail{mails[1]}, map[string][]Mail{mails[1].Folder: got[mails[1].Folder]})
			for folder, mails := range Read(t, address, nil, "a@example.com", "one") {
				if len(mails) > 0 {
					t.Errorf("%s of the other account holds %d messages", folder, len(mails))
				}
			}
		})
	}
}
