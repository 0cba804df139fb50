package main

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
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/imap/copy"
)

// archiveDir is where decommission puts the manifest.
const archiveDir = "archive"

// wanted is what a message is looked for by. What is empty is not asked.
type wanted struct {
	messageID, subject, sender, folder, mailbox string
	from, until                                 time.Time // of INTERNALDATE; until is the first instant after
}

func newManifestFind(a *app) *cobra.Command {
	var w wanted
	var archive, subject, date string
	cmd := &cobra.Command{
		Use: "find [MESSAGE-ID]", Short: "Find out where messages went", Args: cobra.MaximumNArgs(1),
		Long: "find looks into the manifests, or, where the state is gone, into archive/: nothing else of the\n" +
			"migration has to be there, and no host is asked. What is given has to hold all together.\n" +
			"Manifests know no subjects: a subject is found by its digest, so it has to be the whole one.\n" +
			"Exit code 1: no such message.",
		Example: "  mxodus manifest find '<a8f3@other.example>'\n  mxodus manifest find -sender partner@other.example -date 2026-12-01..2026-12-24 -folder Sent\n" +
			"  mxodus manifest find -archive /srv/old/archive -subject 'Offer for the roof'",
		RunE: func(cmd *cobra.Command, args []string) error {
			w.messageID = strings.Trim(strings.Join(args, ""), "<> ")
			w.sender = strings.ToLower(w.sender)
			if subject != "" {
				w.subject = copy.SubjectHash(subject)
			}
			var err error
			if w.from, w.until, err = days(date); err != nil {
				return err
			}
			if w == (wanted{}) {
				return usage("say what to look for: a Message-ID, -subject, -sender, -date, -folder or -mailbox")
			}
			return a.manifestFind(cmd.Context(), w, archive)
		},
	}
	f := cmd.Flags()
	f.StringVar(&archive, "archive", "", "look into this `folder` of JSONL files (default: the state, else archive/)")
	f.StringVar(&subject, "subject", "", "the whole `subject`, in any case")
	f.StringVar(&w.subject, "subject-hash", "", "its `digest` in 16 hex digits, as archives have it")
	f.StringVar(&w.sender, "sender", "", "the `address` in From")
	f.StringVar(&date, "date", "", "the `day` it was received, or two: 2026-12-01..2026-12-24; times are UTC")
	f.StringVar(&w.folder, "folder", "", "the `folder` at the source or at the target")
	f.StringVar(&w.mailbox, "mailbox", "", "the `address` at the source")
	return cmd
}

// days reads a day or a span of days.
func days(text string) (from, until time.Time, err error) {
	if text == "" {
		return from, until, nil
	}
	first, last, span := strings.Cut(text, "..")
	if !span {
		last = first
	}
	if from, err = time.Parse(time.DateOnly, first); err == nil {
		until, err = time.Parse(time.DateOnly, last)
	}
	if err != nil || until.Before(from) {
		return from, until, usage("-date %s: want a day such as 2026-12-24, or two with .. between them", render.Escape(text))
	}
	return from, until.AddDate(0, 0, 1), nil
}

// matches reports whether the row is what is looked for.
func (w wanted) matches(mailbox string, r copy.Row) bool {
	at := time.Time{}
	if r.InternalDate != nil {
		at = *r.InternalDate
	}
	return (w.messageID == "" || r.MessageID == w.messageID) &&
		(w.subject == "" || strings.EqualFold(r.SubjectHash, w.subject)) &&
		(w.sender == "" || r.Sender == w.sender) &&
		(w.folder == "" || r.Folder == w.folder || r.Target == w.folder) &&
		(w.mailbox == "" || strings.EqualFold(mailbox, w.mailbox)) &&
		(w.until.IsZero() || !at.Before(w.from) && at.Before(w.until))
}

func (a *app) manifestFind(ctx context.Context, w wanted, archive string) error {
	hits := 0
	match := func(mailbox string) func(copy.Row) error {
		return func(r copy.Row) error {
			if !w.matches(mailbox, r) {
				return nil
			}
			hits++
			return a.showFound(found{mailbox, r})
		}
	}
	if archive == "" && !a.hasManifests() {
		archive = archiveDir
	}
	if archive != "" {
		if err := a.readArchive(a.path(archive), match); err != nil {
			return err
		}
	} else {
		loaded, copier, err := a.copierHere()
		if err != nil {
			return err
		}
		for _, m := range loaded.Migration.Mailboxes {
			if err := copier.Rows(ctx, m, match(m.Source)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if hits == 0 {
		return errors.New("no manifest names such a message")
	}
	return nil
}

// hasManifests reports whether the state has any: after a migration only its archive is kept.
func (a *app) hasManifests() bool {
	names, err := filepath.Glob(filepath.Join(a.path(".mxodus"), "manifest", "*.db"))
	return err == nil && len(names) > 0
}

// readArchive reads every JSONL file of a folder, and says which ones are not as they were written.
func (a *app) readArchive(dir string, match func(string) func(copy.Row) error) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(names) == 0 {
		return errors.Join(err, fmt.Errorf("%s holds no manifest (*.jsonl): name the folder with -archive", a.name(dir)))
	}
	sums, err := readSums(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		base := filepath.Base(name)
		sum, err := readRows(name, match(mailboxOfFile(base)))
		if err != nil {
			return fmt.Errorf("%s: %w", a.name(name), err)
		}
		if was, known := sums[base]; known && was != sum {
			if _, err := fmt.Fprintf(a.stderr, "warning: %s has changed since it was archived: its SHA-256 was %s\n", render.Escape(a.name(name)), was); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSums reads SHA256SUMS, by file name; nothing when there is none.
func readSums(dir string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			sums[name] = sum
		}
	}
	return sums, err
}

// targetDigest is what a file's name ends in when the mailbox has another address at the target.
var targetDigest = regexp.MustCompile(`~[0-9a-f]{8}$`)

// mailboxOfFile is the source address that an archived file is named for.
func mailboxOfFile(name string) string {
	name = targetDigest.ReplaceAllString(strings.TrimSuffix(name, ".jsonl"), "")
	if address, err := url.PathUnescape(name); err == nil {
		return address
	}
	return name
}

// readRows calls fn for each row of the file and returns the file's SHA-256 in hex.
func readRows(name string, fn func(copy.Row) error) (sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	for lines := bufio.NewReader(io.TeeReader(f, h)); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var row copy.Row
			if err := json.Unmarshal(line, &row); err != nil {
				return "", err
			}
			if err := fn(row); err != nil {
				return "", err
			}
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
