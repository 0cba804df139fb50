package copy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/state/manifest"
)

// hostileNames are names that lead elsewhere, mean something to a system, or look like others.
func hostileNames() []string {
	names := []string{
		"", ".", "..", "...", "/", "//", "/etc/passwd", "../x", "../../../../etc/passwd", "..\\..\\windows\\system32", "\\\\server\\share\\x", "C:\\x", "C:x", "a/b", "a//b", "a/./b", "a/../b",
		"./a", "a/", "a/.", "a/..", "~", "~root", "~/x", "-rf", "--", "-", "$HOME", "${HOME}", "$(id)", "`id`", "%2e%2e%2f", "%00", "..%2f", "..%c0%af", "%252e%252e", "file:///etc/passwd",
		"a\x00b", "\x00", "a\x00.eml", "a\nb", "a\rb", "\r\n", "a\tb", "\x1b]0;owned\x07", "\x7f", "\x80", "\xff\xfe", "\xc0\xae\xc0\xae/", "\xed\xa0\x80", "M\xfcller",
		"CON", "con.txt", "PRN", "AUX", "NUL", "NUL.eml", "COM1", "COM1.db", "LPT9", "CLOCK$", "CONIN$", "a.", "a..", "a ", " a", "a. ", ".a", ".hidden", ".lock", "a:b", "a::$DATA", "a*b", "a?b", "a<b", "a>b", "a|b", "a\"b", "a'b", "a;b", "a&b",
		"anna@acme.example", "Anna@acme.example", "ANNA@ACME.EXAMPLE", "anna@acme.example.", "anna@acme.example ", "anna+x@acme.example", "anna~12345678", "anna%41", "a?mode=memory", "a#x",
		"é", "e\u0301", "\u212b", "\u00c5", "ﬁ", "ſ", "İ", "ı", "ß", "ẞ", "\u202egnp.exe", "\u2066x\u2069", "a\u200bb", "a\u200cb", "a\ufeffb", "\u2028", "\u2029", "\u0085", "a\u00adb", "／etc／passwd", "．．", "。。", "\U000e0041", "日本", "🙂",
		"state.db", "state.db-wal", "lock", "manifest", "quarantine", "../state.db", "x.db", "x.db.lock", "x.eml", "x.eml.part", "x.jsonl", "SHA256SUMS", "..;/", "....//", "..././", ".\u200b.", "con\u200b",
	}
	for _, n := range []int{100, 180, 181, 250, 254, 255, 256, 299, 300, 1000, 4096, 5000} {
		names = append(names, strings.Repeat("a", n), strings.Repeat("ü", n), strings.Repeat("../", n), strings.Repeat("a/", n), strings.Repeat("a", n)+"@acme.example", strings.Repeat(".", n))
	}
	return names
}

// TestHostileNames: whatever a mailbox, a folder or a Message-ID is called, all that is written lies below the folder of the state and that of the
// archive, each mailbox has files of its own, folders are 0700 and files 0600, and the archive names what was kept, under its own name.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	names := hostileNames()
	if len(names) < 200 {
		t.Fatalf("only %d names", len(names))
	}
	above := t.TempDir()
	state, archive := filepath.Join(above, "state"), filepath.Join(above, "archive")
	e := New(Options{StateDir: state, Clock: wallClock{}})
	paths := map[string]string{}
	for i, name := range names {
		m := plan.Mailbox{Source: name, Target: "x@new.example"}
		path := e.ManifestPath(m)
		if other, taken := paths[strings.ToLower(path)]; taken && other != name {
			t.Errorf("%q and %q have the same manifest %s", other, name, path)
		}
		paths[strings.ToLower(path)] = name
		octets := []byte(fmt.Sprintf("Message-ID: <%s>\r\nSubject: %s\r\n\r\n%d\r\n", strings.NewReplacer("\r", "", "\n", "").Replace(name), strings.NewReplacer("\r", "", "\n", "").Replace(name), i))
		b, err := e.readBody(t.Context(), int64(len(octets)), bytes.NewReader(octets), false)
		if err != nil {
			t.Fatal(err)
		}
		file, err := keepFile(state, e.QuarantinePath(m), b)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		kept, err := os.ReadFile(filepath.Join(e.QuarantinePath(m), file))
		if err != nil || !bytes.Equal(kept, octets) || file != b.digest.hex()+".eml" {
			t.Errorf("%q is kept as %q: %v", name, file, err)
		}
		if err := record(t.Context(), path, name, file, b); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		export, _, err := e.Export(t.Context(), m, archive)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		line, err := os.ReadFile(filepath.Join(archive, export))
		var row Row
		if err != nil || json.Unmarshal(line, &row) != nil {
			t.Fatalf("%q: the archive has %q, %v", name, line, err)
		}
		if row.File != file || row.Folder != strings.ToValidUTF8(name, "\ufffd") && row.Folder != name && !strings.Contains(row.Folder, "\ufffd") {
			t.Errorf("%q is in the archive as %q, file %q", name, row.Folder, row.File)
		}
		b.close()
	}
	entries, err := os.ReadDir(above)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside the two folders there is %v, %v", entries, err)
	}
	modes(t, state)
	modes(t, archive)
	inflicted.Count(t, "hostile names", len(names))
}

// record writes a manifest that holds one refused message of a folder of that name.
func record(ctx context.Context, path, name, file string, b *body) error {
	db, err := manifest.Open(path, "x@new.example at new.example")
	if err != nil {
		return err
	}
	err = db.Update(ctx, func(tx *manifest.Tx) error {
		target := manifest.Target{Raw: name, Name: name}
		if err := tx.PutTarget(&target); err != nil {
			return err
		}
		folder := manifest.Folder{Raw: name, Name: name, Target: target.ID, Numbers: manifest.Numbers{UIDValidity: 1}}
		if err := tx.PutFolder(&folder); err != nil {
			return err
		}
		m := &manifest.Message{Folder: folder.ID, UIDValidity: 1, UID: 1, Size: b.size, MessageID: name, Digest: b.digest.raw[:], Target: target.ID, Window: 1}
		if err := tx.Intend(m, wallClock{}.Now()); err != nil {
			return err
		}
		return tx.Quarantine(m.ID, manifest.Refusal{Reason: "refused", Words: name, File: file}, wallClock{}.Now())
	})
	return errors.Join(err, db.Close())
}

func modes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if fi.Mode().Perm() != want || fi.Mode()&fs.ModeSymlink != 0 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPlantedLinks puts a link in the place of each part of a path that the engine writes to: nothing is written where it leads,
// and what was there stays.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	m := plan.Mailbox{Source: "anna@acme.example", Target: "anna@acme.example"}
	octets := []byte("Subject: x\r\n\r\nrefused\r\n")
	planted := 0
	for _, part := range []string{"quarantine", "quarantine/anna@acme.example", "quarantine/anna@acme.example/FILE", "quarantine/anna@acme.example/FILE.part"} {
		for _, to := range []string{"victim", "victim/file", "nowhere", "/dev/null"} {
			above := t.TempDir()
			state, victim := filepath.Join(above, "state"), filepath.Join(above, "victim")
			if err := errors.Join(os.Mkdir(victim, 0o755), os.WriteFile(filepath.Join(victim, "file"), []byte("precious"), 0o644)); err != nil {
				t.Fatal(err)
			}
			e := New(Options{StateDir: state, Clock: wallClock{}})
			b, err := e.readBody(t.Context(), int64(len(octets)), bytes.NewReader(octets), false)
			if err != nil {
				t.Fatal(err)
			}
			at := filepath.Join(state, strings.ReplaceAll(part, "FILE", b.digest.hex()+".eml"))
			if !filepath.IsAbs(to) {
				to = filepath.Join(above, to)
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.Symlink(to, at)); err != nil {
				t.Fatal(err)
			}
			before := tree(t, above, state)
			file, err := keepFile(state, e.QuarantinePath(m), b)
			if after := tree(t, above, state); !maps.Equal(before, after) {
				t.Errorf("%s linked to %s: outside there is %v, was %v", part, to, after, before)
			}
			if err == nil {
				got, rerr := os.ReadFile(filepath.Join(e.QuarantinePath(m), file))
				fi, lerr := os.Lstat(filepath.Join(e.QuarantinePath(m), file))
				if rerr != nil || lerr != nil || !bytes.Equal(got, octets) || !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o600 {
					t.Errorf("%s linked to %s: kept as %v, %v %v", part, to, fi, rerr, lerr)
				}
			}
			b.close()
			planted++
		}
	}
	// A file with the right name and size, and other octets, is not believed.
	e := New(Options{StateDir: t.TempDir(), Clock: wallClock{}})
	b, err := e.readBody(t.Context(), int64(len(octets)), bytes.NewReader(octets), false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	forged := filepath.Join(e.QuarantinePath(m), b.digest.hex()+".eml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(forged), 0o755), os.WriteFile(forged, bytes.Repeat([]byte("x"), len(octets)), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := keepFile(e.o.StateDir, e.QuarantinePath(m), b); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(forged); err != nil || !bytes.Equal(got, octets) {
		t.Errorf("a forged file stays: %q, %v", got, err)
	}
	modes(t, filepath.Join(e.o.StateDir, "quarantine", "anna@acme.example"))
	inflicted.Count(t, "hostile names", planted+1)
}

// tree is what lies below a folder and not below another one.
func tree(t *testing.T, dir, but string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == but {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] = string(b)
		} else {
			all[path] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
