package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
	"github.com/mxodus/mxodus/state/manifest"
)

func newState(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "The journal and the lease of the folder's state",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Print the journal, oldest first", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.stateList(cmd.Context()) }},
		&cobra.Command{Use: "unlock", Short: "Say whether a run holds the lease", Args: noArgs,
			Long: "The lease is a lock of the operating system: it ends with the process that holds it,\nhowever that dies, so there is nothing to break. unlock names the holder, if one is alive.",
			RunE: func(cmd *cobra.Command, _ []string) error { return a.stateUnlock(cmd.Context()) }},
		&cobra.Command{Use: "backup FILE|FOLDER", Short: "Write a consistent copy of the state, also while apply runs", Args: cobra.ExactArgs(1),
			Long: "backup writes the journal to a new file or, where the name ends in a slash or is a folder, the\njournal and every mailbox's manifest to that folder, each as it is at that moment. To restore, copy\nits files to .mxodus while no apply runs. Manifests are what keeps a message from being copied twice.",
			RunE: func(cmd *cobra.Command, args []string) error { return a.stateBackup(cmd.Context(), args[0]) }},
	)
	return cmd
}

// openState opens the folder's state, which has to be there.
func (a *app) openState() (*state.DB, error) {
	if !state.Exists(a.dir) {
		return nil, fmt.Errorf("this folder has no state yet: mxodus apply makes it")
	}
	return state.Open(a.dir)
}

// entryJSON is one line of `state list -json`.
type entryJSON struct {
	Seq   int64     `json:"seq"`
	At    time.Time `json:"at"`
	Plan  string    `json:"plan"`
	Step  string    `json:"step,omitempty"`
	Event string    `json:"event"`
	Data  any       `json:"data"`
}

func (a *app) stateList(ctx context.Context) error {
	db, err := a.openState()
	if err != nil {
		return err
	}
	defer db.Close()
	entries, err := db.Entries(ctx, 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if a.json {
			err = a.writeJSON(entryJSON{e.Seq, e.At, e.Plan, e.Step, e.Event, e.Data})
		} else {
			_, err = fmt.Fprintf(a.stdout, "%5d  %s  %-14s %s\n", e.Seq, e.At.Format("2006-01-02 15:04:05Z"), render.Escape(e.Event), render.Escape(e.Step))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) stateUnlock(ctx context.Context) error {
	db, err := a.openState()
	if err != nil {
		return err
	}
	defer db.Close()
	held, err := db.Held()
	if err != nil {
		return err
	}
	if !held {
		_, err := fmt.Fprintln(a.stdout, "No run holds the lease; nothing is locked.")
		return err
	}
	h, err := db.Holder(ctx)
	if err != nil {
		return err
	}
	return &state.LockedError{Holder: h}
}

func (a *app) stateBackup(ctx context.Context, path string) error {
	db, err := a.openState()
	if err != nil {
		return err
	}
	defer db.Close()
	if fi, err := os.Stat(a.path(path)); strings.HasSuffix(path, "/") || err == nil && fi.IsDir() {
		return a.backupAll(ctx, db, path)
	}
	if err := db.Backup(ctx, a.path(path)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "The journal is in %s. The manifests are files of their own in .mxodus: copy them while no apply runs.\n", render.Escape(path))
	return err
}

// backupAll writes the journal and all manifests to a folder. The journal goes first: what it
// says was copied is in the manifests, which are never older.
func (a *app) backupAll(ctx context.Context, db *state.DB, folder string) error {
	to := filepath.Join(a.path(folder), "manifest")
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if err := db.Backup(ctx, filepath.Join(a.path(folder), "state.db")); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(state.Path(a.dir)), "manifest", "*.db"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := manifest.Backup(ctx, name, filepath.Join(to, filepath.Base(name))); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(a.stdout, "The journal and %s are in %s.\n", counted(len(names), "manifest", "manifests"), render.Escape(folder))
	return err
}
