package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/imap/copy"
)

func newManifest(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Where each message went",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var archive, out string
	find := &cobra.Command{
		Use: "find MESSAGE-ID", Short: "Find a message by its Message-ID", Args: cobra.ExactArgs(1),
		Long: "find looks into the manifests, or into an archive where the state is gone. Exit code 1:\nno such message.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manifestFind(cmd.Context(), strings.Trim(args[0], "<>"), archive)
		},
	}
	find.Flags().StringVar(&archive, "archive", "", "look into the JSONL files of this `folder` instead of the state")
	export := &cobra.Command{
		Use: "export", Short: "Write every manifest as JSON lines, one file a mailbox", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.manifestExport(cmd.Context(), out) },
	}
	export.Flags().StringVar(&out, "out", "manifests", "the `folder` to write to")
	verify := &cobra.Command{
		Use: "verify", Short: "Compare both sides with the manifest; exit 6 when messages are missing", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.manifestVerify(cmd.Context()) },
	}
	cmd.AddCommand(find, export, verify)
	return cmd
}

// found is a row with the mailbox that it belongs to.
type found struct {
	Mailbox string `json:"mailbox"`
	copy.Row
}

// copierHere wires the copy engine of the folder's migration.
func (a *app) copierHere() (*config.Loaded, *copy.Engine, error) {
	loaded, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	sys, err := newSystems(a, loaded)
	if err != nil {
		return nil, nil, err
	}
	return loaded, sys.copier, nil
}

func (a *app) manifestFind(ctx context.Context, id, archive string) error {
	var hits []found
	match := func(mailbox string) func(copy.Row) error {
		return func(r copy.Row) error {
			if strings.Trim(r.MessageID, "<>") == id {
				hits = append(hits, found{mailbox, r})
			}
			return nil
		}
	}
	if archive == "" {
		loaded, copier, err := a.copierHere()
		if err != nil {
			return err
		}
		for _, m := range loaded.Migration.Mailboxes {
			if err := copier.Rows(ctx, m, match(m.Source)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	} else if err := readArchive(a.path(archive), match); err != nil {
		return err
	}
	if len(hits) == 0 {
		return fmt.Errorf("no manifest names a message with the Message-ID %s", render.Escape(id))
	}
	for _, h := range hits {
		if err := a.showFound(h); err != nil {
			return err
		}
	}
	return nil
}

// readArchive reads every JSONL file of a folder.
func readArchive(dir string, match func(string) func(copy.Row) error) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(names) == 0 {
		return errors.Join(err, fmt.Errorf("%s holds no manifest (*.jsonl)", dir))
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = readRows(f, match(strings.TrimSuffix(filepath.Base(name), ".jsonl")))
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func readRows(r io.Reader, fn func(copy.Row) error) error {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var row copy.Row
			if err := json.Unmarshal(line, &row); err != nil {
				return err
			}
			if err := fn(row); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (a *app) showFound(h found) error {
	if a.json {
		return a.writeJSON(h)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s, UID %d: %s", render.Escape(h.Mailbox), render.Escape(h.Folder), h.UID, h.State)
	if h.TargetUID != 0 {
		fmt.Fprintf(&b, " in %s, UID %d", render.Escape(h.Target), h.TargetUID)
	}
	fmt.Fprintf(&b, ", %s\n  %s, sha256 %s\n", h.At.Local().Format(time.RFC3339), render.Size(h.Size), h.SHA256)
	if h.Reason != "" {
		fmt.Fprintf(&b, "  refused: %s %s\n  kept as %s\n", render.Escape(h.Reason), render.Escape(h.Server), render.Escape(h.File))
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

func (a *app) manifestExport(ctx context.Context, out string) error {
	loaded, copier, err := a.copierHere()
	if err != nil {
		return err
	}
	dir := a.path(out)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, m := range loaded.Migration.Mailboxes {
		name, sum, err := copier.Export(ctx, m, dir)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "%s  %s\n", sum, render.Escape(filepath.Join(out, name))); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) manifestVerify(ctx context.Context) error {
	loaded, copier, err := a.copierHere()
	if err != nil {
		return err
	}
	bad := false
	for _, m := range loaded.Migration.Mailboxes {
		c, err := copier.Compare(ctx, m)
		if err != nil {
			return err
		}
		gone := max(0, c.Source-c.Target-c.Quarantined)
		bad = bad || gone > 0
		if _, err := fmt.Fprintf(a.stdout, "%s: %d of %d at the target, %d in quarantine, %d left out\n", render.Escape(m.Source), c.Target, c.Source, c.Quarantined, c.LeftOut); err != nil {
			return err
		}
		for _, line := range c.Missing {
			if _, err := fmt.Fprintf(a.stdout, "  missing: %s\n", render.Escape(line)); err != nil {
				return err
			}
		}
	}
	if bad {
		return exit(exitFailed)
	}
	return nil
}
