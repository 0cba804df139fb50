package copy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

func TestExportNamesEachMessage(t *testing.T) {
	src, dst := memories(t)
	mails := []imaptest.GeneratedMail{mail("INBOX", "one", `\Seen`, "<b>"), mail("Übung/日本", "two"), mail("INBOX", "poison")}
	mails[0].Flags = mails[0].Flags[:1]
	src.fill(t, mails)
	b := newBench(t, src, dst, t.TempDir(), nil)
	if s, err := b.engine.Summary(t.Context(), b.mailbox); err != nil || s != (Summary{}) {
		t.Errorf("summary before the first pass: %+v, %v", s, err)
	}
	b.decorate(decorated{before: func(octets []byte) error {
		if bytes.Contains(octets, []byte("poison")) {
			return refused(providers.BadMessage, "no")
		}
		return nil
	}})
	b.pass(providers.BeforeFlip)
	if s, err := b.engine.Summary(t.Context(), b.mailbox); err != nil || s != (Summary{Messages: 3, Copied: 2, Quarantined: 1}) {
		t.Errorf("summary: %+v, %v", s, err)
	}
	dir := filepath.Join(t.TempDir(), "archive")
	name, sum, err := b.engine.Export(t.Context(), b.mailbox, dir)
	if err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(octets); hex.EncodeToString(got[:]) != sum {
		t.Errorf("the file's digest is %x, not %s", got, sum)
	}
	rows := map[string]Row{}
	for line := range bytes.Lines(octets) {
		var row Row
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rows[row.MessageID] = row
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows: %s", len(rows), octets)
	}
	two := rows["two@acme.example"]
	want := sha256.Sum256(mails[1].Octets)
	if two.Folder != "Übung/日本" || two.Target != "Übung/日本" || two.State != "claimed" || two.TargetUID != 1 || two.SHA256 != hex.EncodeToString(want[:]) ||
		two.InternalDate == nil || !two.InternalDate.Equal(mails[1].Date) {
		t.Errorf("%+v", two)
	}
	if p := rows["poison@acme.example"]; p.State != "quarantined" || p.Server != "no" || p.Reason != "bad_message" || p.File == "" {
		t.Errorf("%+v", p)
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 1 {
		t.Errorf("%v is left in the archive", files)
	}
}
