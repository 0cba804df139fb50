package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/copy"
)

func newManifest(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Where each message went",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var contents bool
	verify := &cobra.Command{
		Use: "verify", Short: "Compare both sides with the manifest; exit 6 when messages are missing", Args: noArgs,
		Long: "verify holds both sides against the manifest. With -contents it reads every copy back\nfrom the target and compares octets, or where the target renders messages anew what\nthey say; that takes about as long as the copy did.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.manifestVerify(cmd.Context(), contents) },
	}
	verify.Flags().BoolVar(&contents, "contents", false, "read every copy back and compare")
	cmd.AddCommand(newManifestFind(a), newManifestExport(a), verify)
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
	if h.InternalDate != nil {
		fmt.Fprintf(&b, "  received %s", h.InternalDate.UTC().Format(time.RFC3339))
		if h.Sender != "" {
			fmt.Fprintf(&b, " from %s", render.Escape(h.Sender))
		}
		if h.MessageID != "" {
			fmt.Fprintf(&b, ", Message-ID <%s>", render.Escape(h.MessageID))
		}
		b.WriteByte('\n')
	}
	if len(h.Changed) > 0 {
		fmt.Fprintf(&b, "  changed by the target: %s\n", render.Escape(strings.Join(h.Changed, ", ")))
	}
	if h.Tier != "" {
		fmt.Fprintf(&b, "  read back: %s\n", tierWords[h.Tier])
	}
	if h.Reason != "" {
		fmt.Fprintf(&b, "  refused: %s %s\n  kept as %s\n", render.Escape(h.Reason), render.Escape(h.Server), render.Escape(h.File))
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// tierWords say how closely a copy was found equal.
var tierWords = map[string]string{
	"octets":  "equal, octet by octet",
	"content": "rendered anew, with the same content",
	"gist":    "rendered anew; Message-ID, date, sender, subject, attachments and size are the same",
	"other":   "another message",
}

// equality tells on what the equality of copies rests, and what the target has changed.
func equality(c providers.Comparison) string {
	var b strings.Builder
	t := c.Tiers
	fmt.Fprintf(&b, "  read back: %d equal by octets, %d by content, %d by gist, %d another message; %d not read back\n", t.Octets, t.Content, t.Gist, t.Other, t.Unread)
	for _, what := range slices.Sorted(maps.Keys(c.Changed)) {
		fmt.Fprintf(&b, "  changed by the target: %s of %d\n", what, c.Changed[what])
	}
	return b.String()
}

func (a *app) manifestVerify(ctx context.Context, contents bool) error {
	loaded, copier, err := a.copierHere()
	if err != nil {
		return err
	}
	bad := false
	for _, m := range loaded.Migration.Mailboxes {
		compare := copier.Compare
		if contents {
			compare = copier.Verify
		}
		c, err := compare(ctx, m)
		if err != nil {
			return err
		}
		gone := max(0, c.Source-c.Target-c.Quarantined)
		bad = bad || gone > 0 || c.Tiers.Other > 0
		if _, err := fmt.Fprintf(a.stdout, "%s: %d of %d at the target, %d in quarantine, %d left out\n", render.Escape(m.Source), c.Target, c.Source, c.Quarantined, c.LeftOut); err != nil {
			return err
		}
		if _, err := io.WriteString(a.stdout, equality(c)); err != nil {
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
