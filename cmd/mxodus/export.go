package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/spreadsheet"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/state"
)

func newManifestExport(a *app) *cobra.Command {
	var out, format string
	cmd := &cobra.Command{
		Use: "export", Short: "Write every manifest, one file a mailbox", Args: noArgs,
		Long: "export writes JSON lines, or CSV for spreadsheets: there a cell that a spreadsheet would run\n" +
			"as a formula has an apostrophe in front. It prints each file's SHA-256.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch format {
			case "jsonl", "csv":
				return a.manifestExport(cmd.Context(), out, format)
			}
			return usage("-format %s: there are jsonl and csv", render.Escape(format))
		},
	}
	cmd.Flags().StringVar(&out, "out", "manifests", "the `folder` to write to")
	cmd.Flags().StringVar(&format, "format", "jsonl", "`jsonl` or csv")
	return cmd
}

func (a *app) manifestExport(ctx context.Context, out, format string) error {
	loaded, copier, err := a.copierHere()
	if err != nil {
		return err
	}
	dir := a.path(out)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, m := range loaded.Migration.Mailboxes {
		export := copier.Export
		if format == "csv" {
			export = func(ctx context.Context, m plan.Mailbox, dir string) (string, string, error) {
				return exportCSV(ctx, copier, m, dir)
			}
		}
		name, sum, err := export(ctx, m, dir)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "%s  %s\n", sum, render.Escape(filepath.Join(out, name))); err != nil {
			return err
		}
	}
	return nil
}

// exportCSV writes the mailbox's manifest as CSV and returns the file's name and SHA-256.
func exportCSV(ctx context.Context, copier *copy.Engine, m plan.Mailbox, dir string) (name, sum string, err error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true // RFC 4180 §2
	_ = w.Write([]string{"folder", "uidvalidity", "uid", "message_id", "sender", "subject_hash", "size", "internaldate", "flags", "sha256", "state", "at", "vanished",
		"target", "target_uidvalidity", "target_uid", "reason", "server", "file"})
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	err = copier.Rows(ctx, m, func(r copy.Row) error {
		date := ""
		if r.InternalDate != nil {
			date = r.InternalDate.Format(time.RFC3339)
		}
		row := []string{r.Folder, number(r.UIDValidity), number(r.UID), r.MessageID, r.Sender, r.SubjectHash, strconv.FormatInt(r.Size, 10), date, strings.Join(r.Flags, " "),
			r.SHA256, r.State, r.At.Format(time.RFC3339), strconv.FormatBool(r.Vanished), r.Target, number(r.TargetUIDValidity), number(r.TargetUID), r.Reason, r.Server, r.File}
		for i, cell := range row {
			row[i] = spreadsheet.Guarded(cell)
		}
		return w.Write(row)
	})
	if w.Flush(); err != nil || w.Error() != nil {
		return "", "", errors.Join(err, w.Error())
	}
	name = strings.TrimSuffix(filepath.Base(copier.ManifestPath(m)), ".db") + ".csv"
	if err := state.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
		return "", "", err
	}
	digest := sha256.Sum256(b.Bytes())
	return name, hex.EncodeToString(digest[:]), nil
}
