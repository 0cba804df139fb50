package copy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/state/manifest"
)

// Row is one message in an exported manifest: one JSON object a line.
// Field names are a contract.
type Row struct {
	Folder            string     `json:"folder"`
	UIDValidity       uint32     `json:"uidvalidity"`
	UID               uint32     `json:"uid"`
	MessageID         string     `json:"message_id,omitempty"`
	Sender            string     `json:"sender,omitempty"`
	SubjectHash       string     `json:"subject_hash,omitempty"` // see SubjectHash
	Size              int64      `json:"size"`
	InternalDate      *time.Time `json:"internaldate,omitempty"`
	Flags             []string   `json:"flags,omitempty"`
	SHA256            string     `json:"sha256"`
	State             string     `json:"state"`
	At                time.Time  `json:"at"` // when it came into that state
	Vanished          bool       `json:"vanished,omitempty"`
	Tier              string     `json:"tier,omitempty"`    // how its copy was read back: octets, content, gist or other
	Changed           []string   `json:"changed,omitempty"` // by the target: date=…, flags, keywords, octets, content
	Target            string     `json:"target,omitempty"`
	TargetUIDValidity uint32     `json:"target_uidvalidity,omitempty"`
	TargetUID         uint32     `json:"target_uid,omitempty"`
	Reason            string     `json:"reason,omitempty"` // of a quarantined message
	Server            string     `json:"server,omitempty"` // the target's words, unescaped
	File              string     `json:"file,omitempty"`   // in the quarantine folder
}

// Rows calls fn for each message of the mailbox's manifest, by folder and UID;
// for none when nothing was copied yet. Neither side is asked, and a pass may be under way.
func (e *Engine) Rows(ctx context.Context, m plan.Mailbox, fn func(Row) error) (err error) {
	db, err := manifest.View(e.ManifestPath(m))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return rows(ctx, db, fn)
}

// Summary is what the manifest of a mailbox holds of messages that the source still has.
type Summary struct {
	Messages    int // read so far, in any state
	Copied      int
	Quarantined int
	Doubt       int // sent without an answer and not looked for yet
}

// Summary counts the mailbox's manifest; it is zero when nothing was copied
// yet. Neither side is asked, and a pass may be under way.
func (e *Engine) Summary(ctx context.Context, m plan.Mailbox) (s Summary, err error) {
	db, err := manifest.View(e.ManifestPath(m))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	counts, err := db.Counts(ctx)
	for _, n := range counts {
		s.Messages += n
	}
	s.Copied, s.Quarantined = counts[manifest.Claimed], counts[manifest.Quarantined]
	s.Doubt = counts[manifest.Intent] + counts[manifest.Applied]
	return s, err
}

func rows(ctx context.Context, db *manifest.DB, fn func(Row) error) error {
	folders, err := db.Folders(ctx)
	if err != nil {
		return err
	}
	targets, err := db.Targets(ctx)
	if err != nil {
		return err
	}
	quarantine, err := db.Quarantine(ctx)
	if err != nil {
		return err
	}
	names := map[int64]string{}
	for _, t := range targets {
		names[t.ID] = t.Name
	}
	list := slices.SortedFunc(maps.Values(folders), func(a, b manifest.Folder) int { return strings.Compare(a.Name+"\x00"+a.Raw, b.Name+"\x00"+b.Raw) })
	for _, f := range list {
		if err := db.Of(ctx, f.ID, func(m manifest.Message) error {
			q := quarantine[m.ID]
			row := Row{
				Folder: f.Name, UIDValidity: m.UIDValidity, UID: m.UID, MessageID: m.MessageID, Sender: m.Sender, SubjectHash: hex.EncodeToString(m.Subject), Size: m.Size, Flags: m.Flags,
				SHA256: hex.EncodeToString(m.Digest), State: m.State.String(), At: m.At, Tier: m.Tier.String(), Changed: m.Changed, Vanished: m.Vanished != 0,
				Target: names[m.Target], TargetUIDValidity: m.TargetUIDValidity, TargetUID: m.TargetUID,
				Reason: q.Reason, Server: q.Words, File: q.File,
			}
			if !m.InternalDate.IsZero() {
				row.InternalDate = &m.InternalDate
			}
			return fn(row)
		}); err != nil {
			return err
		}
	}
	return nil
}

// Export implements providers.Copier. The file is complete or not there: it gets its
// name when everything is on the disk.
func (e *Engine) Export(ctx context.Context, m plan.Mailbox, dir string) (name, sum string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("make the archive folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", fmt.Errorf("open the archive folder: %w", err)
	}
	defer root.Close()
	name = fileName(m) + ".jsonl"
	if err := root.Remove(name + ".part"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("write the manifest's export: %w", err)
	}
	f, err := root.OpenFile(name+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // a link that lies there isn't followed
	if err != nil {
		return "", "", fmt.Errorf("write the manifest's export: %w", err)
	}
	h := sha256.New()
	out := bufio.NewWriter(io.MultiWriter(f, h))
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err = e.Rows(ctx, m, func(row Row) error { return enc.Encode(row) })
	if err = errors.Join(err, out.Flush(), f.Sync(), f.Close()); err != nil {
		return "", "", errors.Join(fmt.Errorf("write the manifest's export: %w", err), root.Remove(name+".part"))
	}
	if err := root.Rename(name+".part", name); err != nil {
		return "", "", fmt.Errorf("write the manifest's export: %w", err)
	}
	return name, hex.EncodeToString(h.Sum(nil)), nil
}
