package imap_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m, leaks.OfGoIMAP...) }

const (
	user     = "jörg@example.com" // a name that can't be sent as an atom
	password = `p"a\ss w{5}`
)

// passwords is a Secrets of one password.
type passwords string

func (p passwords) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(p)), nil
}

// server is one that the same tests run against.
type server struct {
	name    string
	host    plan.Host
	root    string
	address string
	config  *tls.Config
}

func (s server) dialer() *imap.Dialer {
	h := s.host
	h.Credentials = plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
	h.Limits.StallTimeout = 20 * time.Second
	return &imap.Dialer{Host: h, Secrets: passwords(password), Root: s.root}
}

func (s server) connect(t *testing.T) *imap.Session {
	t.Helper()
	session, err := s.dialer().Connect(t.Context(), providers.Account{Address: user})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func (s server) read(t *testing.T) map[string][]imaptest.Mail {
	t.Helper()
	return imaptest.Read(t, s.address, s.config, user, password)
}

func memory(t *testing.T) server {
	m, err := imaptest.NewMemory(imaptest.MemoryOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	m.AddAccount(user, password)
	for name, use := range map[string]string{"Sent": `\Sent`, "Drafts": `\Drafts`, "Trash": `\Trash`} {
		if err := m.AddFolder(user, name, use); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "ca.pem"), m.Authority().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return server{"memory", plan.Host{Hostname: "127.0.0.1", Port: m.Port(), CAFile: "ca.pem"}, root, m.Address(), m.Authority().Client()}
}

func dovecot(t *testing.T, name string, o imaptest.DovecotOptions) server {
	o.Accounts = map[string]string{user: password}
	d := imaptest.StartDovecot(t, o)
	return server{name, plan.Host{Hostname: "localhost", Port: d.TLSPort(), CAFile: d.CAFile()}, "", d.Address(), nil}
}

// each runs test against Memory and Dovecots that differ in all that matters here.
func each(t *testing.T, test func(t *testing.T, s server)) {
	t.Run("memory", func(t *testing.T) { test(t, memory(t)) })
	for name, o := range map[string]imaptest.DovecotOptions{
		"maildir": {},
		"mdbox":   {Store: "mdbox", Separator: ".", Prefix: "INBOX."},
		"plain":   {Settings: "imap_capability = IMAP4rev1 UIDPLUS NAMESPACE"},
		"minus":   {Settings: "imap_capability = IMAP4rev1 LITERAL- MULTIAPPEND"},
	} {
		t.Run("dovecot-"+name, func(t *testing.T) { test(t, dovecot(t, name, o)) })
	}
}

// TestRoundTrip appends the corpus through a session, reads it back by one
// that shares no code, and then by our own.
func TestRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, srv server) {
		mails := imaptest.Generate(7, 250)
		if srv.name == "memory" {
			mails = slices.DeleteFunc(mails, func(g imaptest.GeneratedMail) bool {
				return !bytes.Contains(g.Octets, []byte("\r\n\r\n")) && !bytes.HasPrefix(g.Octets, []byte("\r\n"))
			})
		}
		s := srv.connect(t)
		ctx := t.Context()
		byFolder := map[string][]imaptest.GeneratedMail{}
		for _, m := range mails {
			byFolder[m.Folder] = append(byFolder[m.Folder], m)
		}
		type at struct {
			folder string
			uid    uint32
		}
		placed := map[at]imaptest.GeneratedMail{}
		for _, name := range slices.Sorted(maps.Keys(byFolder)) {
			raw := s.WireName(name)
			for range 2 { // a folder that exists is no error
				if err := s.Create(ctx, raw, ""); name != "INBOX" && err != nil {
					t.Fatalf("create %q: %v", raw, err)
				}
			}
			if err := s.Subscribe(ctx, raw); err != nil {
				t.Fatal(err)
			}
			var batch []imap.Message
			for _, m := range byFolder[name] {
				batch = append(batch, imap.Message{Flags: append(m.Flags, `\Recent`, "bad flag"), InternalDate: m.Date, Size: int64(len(m.Octets)), Body: bytes.NewReader(m.Octets)})
			}
			results, err := s.Append(ctx, raw, batch)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				if r.Err != nil || !r.Done || r.Unsent {
					t.Fatalf("message %d of %s: %+v", i, name, r)
				}
				if s.Has("UIDPLUS") && (r.UID == 0 || r.UIDValidity == 0) {
					t.Fatalf("message %d of %s: no APPENDUID: %+v", i, name, r)
				}
				placed[at{name, r.UID}] = byFolder[name][i]
			}
		}

		entries, err := s.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]imap.ListEntry{}
		for _, e := range entries {
			names[e.Name] = e
			if e.Selectable && (e.Status == nil || int(e.Status.Messages) != len(byFolder[e.Name]) || e.Status.UIDValidity == 0) {
				t.Errorf("%s: %+v, want %d messages", e.Name, e.Status, len(byFolder[e.Name]))
			}
		}
		for name := range byFolder {
			if e, ok := names[name]; !ok || !e.Subscribed || s.WireName(name) != e.Raw {
				t.Errorf("%q is listed as %+v", name, e)
			}
		}
		want := map[string][]imaptest.Mail{}
		got := map[string][]imaptest.Mail{}
		for raw, list := range srv.read(t) {
			name := raw
			if p := srv.prefix(); p != "" {
				name = strings.ReplaceAll(strings.TrimPrefix(raw, p), ".", "/")
				name = strings.ReplaceAll(name, "\u2024", ".")
			}
			got[name] = list
			for _, m := range byFolder[name] {
				want[name] = append(want[name], m.Mail())
			}
		}
		if lines := imaptest.Diff(want, got, nil); len(lines) > 0 || len(got) < len(byFolder) {
			t.Fatalf("%d differences: %s", len(lines), strings.Join(lines[:min(5, len(lines))], "\n"))
		}

		for name, list := range byFolder {
			sel, err := s.Examine(ctx, names[name].Raw)
			if err != nil {
				t.Fatal(err)
			}
			if int(sel.Exists) != len(list) || !sel.ReadOnly || sel.UIDValidity != names[name].Status.UIDValidity || sel.UIDNext != names[name].Status.UIDNext {
				t.Errorf("%s: %+v", name, sel)
			}
			var uids []uint32
			header := map[uint32]string{}
			items := imap.FetchItems{Flags: true, InternalDate: true, Size: true, ModSeq: true, HeaderFields: []string{"Message-ID", "Date"}}
			err = s.FetchMeta(ctx, "1:*", items, func(m imap.Meta) error {
				uids = append(uids, m.UID)
				header[m.UID] = string(m.Header)
				if s.Has("CONDSTORE") && m.ModSeq == 0 {
					t.Errorf("%s UID %d has no MODSEQ", name, m.UID)
				}
				return nil
			})
			if err != nil || len(uids) != len(list) {
				t.Fatalf("%s: %d of %d messages, %v", name, len(uids), len(list), err)
			}
			// Two sets, in reverse, and a UID that doesn't exist.
			half := len(uids) / 2
			sets := []string{imap.FormatSet(slices.Clone(uids[half:])), "4000000"}
			if half > 0 {
				sets = append(sets, imap.FormatSet(slices.Clone(uids[:half])))
			}
			seen := 0
			err = s.FetchBodies(ctx, sets, func(m imap.Meta, size int64, body io.Reader) error {
				octets, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				seen++
				if int64(len(octets)) != size {
					t.Errorf("%d octets where %d were announced", len(octets), size)
				}
				if s.Has("UIDPLUS") {
					g := placed[at{name, m.UID}]
					if !bytes.Equal(g.Octets, octets) || !g.Date.Equal(m.InternalDate) {
						t.Errorf("%s UID %d is another message: %v and %v", name, m.UID, g.Date, m.InternalDate)
					}
					if strings.Contains(string(g.Octets), "Message-ID: ") != strings.Contains(header[m.UID], "Message-ID: ") {
						t.Errorf("%s UID %d: header %q", name, m.UID, header[m.UID])
					}
				}
				return nil
			})
			missing, ok := errors.AsType[*imap.MissingError](err)
			if !ok || !slices.Equal(missing.UIDs, []uint32{4000000}) || seen != len(list) {
				t.Fatalf("%s: %d of %d bodies, %v", name, seen, len(list), err)
			}
		}
	})
}

func (s server) prefix() string {
	if s.name == "mdbox" {
		return "INBOX."
	}
	return ""
}

func TestChanges(t *testing.T) {
	each(t, func(t *testing.T, srv server) {
		s := srv.connect(t)
		ctx := t.Context()
		var batch []imap.Message
		for i := range 10 {
			batch = append(batch, message(fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i)))
		}
		if _, err := s.Append(ctx, "INBOX", batch); err != nil {
			t.Fatal(err)
		}
		to := s.WireName("Moved/Deeper")
		if err := s.Create(ctx, to, ""); err != nil {
			t.Fatal(err)
		}
		sel, err := s.Select(ctx, "INBOX")
		if err != nil || sel.ReadOnly || !sel.AnyKeyword {
			t.Fatalf("%+v, %v", sel, err)
		}
		if err := s.Store(ctx, "1:3", "+FLAGS", []string{`\Flagged`, "Key", `\Recent`}); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, "2", "-FLAGS", []string{"key"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, "4", "FLAGS", []string{`\Deleted`}); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, "5", "FLAGS", []string{`\Deleted`}); err != nil {
			t.Fatal(err)
		}
		flags := map[uint32][]string{}
		if err := s.FetchMeta(ctx, "1:5", imap.FetchItems{Flags: true}, func(m imap.Meta) error {
			for _, f := range m.Flags {
				if f = strings.ToLower(f); f != `\recent` {
					flags[m.UID] = append(flags[m.UID], f)
				}
			}
			slices.Sort(flags[m.UID])
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		want := map[uint32][]string{1: {`\flagged`, "key"}, 2: {`\flagged`}, 3: {`\flagged`, "key"}, 4: {`\deleted`}, 5: {`\deleted`}}
		if !maps.EqualFunc(flags, want, slices.Equal) {
			t.Errorf("flags are %v, want %v", flags, want)
		}

		err = s.Expunge(ctx, "4")
		if s.Has("UIDPLUS") != (err == nil) || err != nil && providers.ReasonOf(err) != providers.Refused {
			t.Fatalf("expunge: %v", err)
		}
		moved, err := s.Move(ctx, "1:2,9", to)
		if s.Has("MOVE") != (err == nil) {
			t.Fatalf("move: %v", err)
		}
		if s.Has("MOVE") && !maps.Equal(moved, map[uint32]uint32{1: 1, 2: 2, 9: 3}) {
			t.Errorf("moved %v", moved)
		}
		if _, err := s.Copy(ctx, "6", to); err != nil {
			t.Fatal(err)
		}
		if err := s.Unselect(ctx); err != nil {
			t.Fatal(err)
		}
		left := len(srv.read(t)["INBOX"])
		expect := 10
		if s.Has("UIDPLUS") {
			expect-- // 4; 5 is marked too and stays
		}
		if s.Has("MOVE") {
			expect -= 3
		}
		if left != expect {
			t.Errorf("%d messages are left in INBOX, want %d: closing must not expunge", left, expect)
		}
		if err := s.Delete(ctx, to); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Select(ctx, to); providers.ReasonOf(err) != providers.NotFound {
			t.Errorf("select a deleted folder: %v", err)
		}
		// A refusal leaves the session alive.
		if results, err := s.Append(ctx, to, []imap.Message{message("Subject: late\r\n\r\n")}); err != nil || providers.ReasonOf(results[0].Err) != providers.NotFound {
			t.Errorf("append to a deleted folder: %+v, %v", results, err)
		}
		if err := s.Noop(ctx); err != nil {
			t.Error(err)
		}
	})
}

func message(text string) imap.Message {
	return imap.Message{Size: int64(len(text)), Body: strings.NewReader(text)}
}

// TestLargeMessages goes over the limits for immediate literals and for
// MULTIAPPEND, with batches that overlap.
func TestLargeMessages(t *testing.T) {
	each(t, func(t *testing.T, srv server) {
		s := srv.connect(t)
		ctx := t.Context()
		var sums []string
		var waits []func() ([]imap.Appended, error)
		for _, sizes := range [][]int{{10, 4096, 4097}, {3 << 20, 100}, {5000, 5 << 20, 1 << 20, 1<<20 + 1}} {
			var batch []imap.Message
			for i, size := range sizes {
				text := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", size/64) + "\r\n"
				sum := sha256.Sum256([]byte(text))
				sums = append(sums, hex.EncodeToString(sum[:]))
				batch = append(batch, message(text))
			}
			wait, err := s.StartAppend(ctx, "INBOX", batch)
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, wait)
		}
		for _, wait := range waits {
			results, err := wait()
			for _, r := range results {
				if err != nil || !r.Done {
					t.Fatalf("%+v, %v", r, err)
				}
			}
		}
		var got []string
		for _, m := range srv.read(t)["INBOX"] {
			got = append(got, m.SHA256)
		}
		slices.Sort(sums)
		slices.Sort(got)
		if !slices.Equal(sums, got) {
			t.Errorf("%d of %d messages arrived as they were", len(got), len(sums))
		}
	})
}

// TestCulprit: one message of a batch is refused, the others arrive.
func TestCulprit(t *testing.T) {
	srv := dovecot(t, "culprit", imaptest.DovecotOptions{})
	s := srv.connect(t)
	if !s.Has("MULTIAPPEND") {
		t.Skip("this Dovecot has no MULTIAPPEND")
	}
	batch := []imap.Message{message("Subject: a\r\n\r\n1"), message("Subject: b\r\n\r\n2"), {Size: 0, Body: strings.NewReader("")}, message("Subject: c\r\n\r\n3")}
	results, err := s.Append(t.Context(), "INBOX", batch)
	if err != nil {
		t.Fatal(err)
	}
	if !results[0].Done || !results[1].Done || results[2].Err == nil || !results[3].Done {
		t.Errorf("%+v", results)
	}
	if n := len(srv.read(t)["INBOX"]); n != 3 {
		t.Errorf("%d messages arrived, want 3", n)
	}
}

// TestRoundTrips counts what a wide network would cost.
func TestRoundTrips(t *testing.T) {
	srv := dovecot(t, "trips", imaptest.DovecotOptions{})
	s := srv.connect(t)
	ctx := t.Context()
	opened, _, _ := s.Traffic()
	for i := range 60 {
		if err := s.Create(ctx, fmt.Sprintf("f%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	before, _, _ := s.Traffic()
	entries, err := s.List(ctx)
	if err != nil || len(entries) < 60 {
		t.Fatalf("%d folders, %v", len(entries), err)
	}
	after, _, _ := s.Traffic()
	if after-before != 1 {
		t.Errorf("listing %d folders with their status took %d round trips", len(entries), after-before)
	}
	var batch []imap.Message
	for i := range 100 {
		batch = append(batch, message(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x", 6000))))
	}
	if _, err := s.Append(ctx, "INBOX", batch); err != nil {
		t.Fatal(err)
	}
	appended, _, _ := s.Traffic()
	if appended-after != 1 {
		t.Errorf("appending 100 messages took %d round trips", appended-after)
	}
	if opened > 6 {
		t.Errorf("opening a session took %d round trips", opened)
	}
	t.Logf("open %d, list 1, append 100 messages 1", opened)
}

func TestHost(t *testing.T) {
	each(t, func(t *testing.T, srv server) {
		s := srv.connect(t)
		ctx := t.Context()
		var batch []imap.Message
		for i := range 40 {
			batch = append(batch, message(fmt.Sprintf("Delivered-To: Info%d@Example.com\r\nTo: \"A, B\" <all@example.com>, x@elsewhere.example\r\nCc: undisclosed;\r\n\r\n", i)))
		}
		if _, err := s.Append(ctx, "INBOX", batch); err != nil {
			t.Fatal(err)
		}
		h := imap.Host{Dialer: srv.dialer()}
		if err := h.Login(ctx, providers.Account{Address: user}); err != nil {
			t.Fatal(err)
		}
		folders, err := h.Folders(ctx, providers.Account{Address: user})
		if err != nil {
			t.Fatal(err)
		}
		inbox := folders[slices.IndexFunc(folders, func(f providers.Folder) bool { return f.Name == "INBOX" })]
		if inbox.Messages != 40 || (inbox.Octets <= 0) == s.Has("STATUS=SIZE") {
			t.Errorf("%+v", inbox)
		}
		// Special use is told where it is asked for.
		sent := slices.IndexFunc(folders, func(f providers.Folder) bool { return f.Name == "Sent" && f.SpecialUse == `\Sent` })
		if s.Has("SPECIAL-USE") && sent < 0 {
			t.Errorf("no folder is marked as \\Sent: %+v", folders)
		}
		found, err := h.Recipients(ctx, providers.Account{Address: user}, []string{"EXAMPLE.com"}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 11 || found["all@example.com"] != 10 || found["info39@example.com"] != 1 || found["info29@example.com"] != 0 {
			t.Errorf("%v", found)
		}
	})
}
