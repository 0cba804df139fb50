package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/providers/secret"
	"github.com/mxodus/mxodus/state"
)

type copyOptions struct {
	state, sourcePassword, targetPassword, caFile, deletes, grace, stall string
	connections                                                          int
}

func newCopy(a *app) *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy one mailbox, without a migration folder",
		Long: "copy brings one mailbox up to date with another one: folders, messages, flags, dates.\n" +
			"It keeps a manifest, so a second run copies only what is new and a killed one goes on.\n" +
			"The source is only read. SRC and DST are imaps://user@host[:port],\n" +
			"imap+starttls://user@host[:port] or imap+none://user@host:port (loopback only), with the\n" +
			"user percent-encoded. Exit code 6: something was refused by the target.",
		Example: "  mxodus copy -source-password env:OLD -target-password file:new.txt \\\n    imaps://anna%40acme.example@imap.ionos.de imaps://anna%40acme.example@mail.acme.example",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copyMailbox(cmd.Context(), args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "`folder` of the manifest (default: .mxodus-copy)")
	f.StringVar(&o.sourcePassword, "source-password", "", "`where` the password is: env:NAME, file:PATH or command:ARGV (default: ask)")
	f.StringVar(&o.targetPassword, "target-password", "", "`where` the password is: env:NAME, file:PATH or command:ARGV (default: ask)")
	f.StringVar(&o.caFile, "ca-file", "", "`file` of certificates to trust instead of the system's")
	f.StringVar(&o.deletes, "deletes", "keep", "what becomes of messages deleted at the source: keep or mirror")
	f.IntVar(&o.connections, "connections", copy.DefaultConnections, "connections to each side")
	f.StringVar(&o.grace, "doubt-grace", "", "how `long` to wait before a message without an answer is looked for (default 120s)")
	f.StringVar(&o.stall, "stall-timeout", "", "how `long` a silent connection is waited for (default 60s)")
	return cmd
}

func (a *app) copyMailbox(ctx context.Context, src, dst string, o copyOptions) error {
	a.graceful.Store(true)
	limits, err := o.limits()
	if err != nil {
		return err
	}
	source, from, err := a.parseHost(src, "source", o, limits)
	if err != nil {
		return err
	}
	target, to, err := a.parseHost(dst, "target", o, limits)
	if err != nil {
		return err
	}
	if o.state == "" {
		o.state = ".mxodus-copy"
	}
	dir := a.path(o.state)
	db, err := state.Open(dir)
	if err != nil {
		return err
	}
	defer db.Close()
	lease, err := db.Acquire(ctx, holder("copy"), a.clock)
	if err != nil {
		return err
	}
	defer lease.Release()
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	secrets := secret.New(root, secret.Options{LookupEnv: a.lookupEnv, Prompt: a.prompt, Keyring: secret.SystemKeyring})
	dial := func(h plan.Host) func(string) (*imap.Dialer, error) {
		d := &imap.Dialer{Host: h, Secrets: secrets, Clock: a.clock, Root: a.dir, Spool: filepath.Join(dir, ".mxodus")}
		return func(string) (*imap.Dialer, error) { return d, nil }
	}
	engine := copy.New(copy.Options{Source: dial(source), Target: dial(target), StateDir: filepath.Join(dir, ".mxodus"), Clock: a.clock})
	box := plan.Mailbox{Block: "copy", Kind: plan.UserMailbox, Source: from, Target: to, From: "copy", On: "copy", Deletes: o.deletes}
	view := &applyView{out: a.stdout, json: a.json, live: a.stdoutTTY && !a.json, screen: a.screen(), clock: a.clock, loc: time.Local,
		at: map[string]progressAt{}, before: map[string]int{}, now: map[string]int{}, shown: map[string]bool{}}
	began := false
	result, err := engine.Pass(ctx, providers.PassSpec{Mailbox: box, Mode: providers.BeforeFlip, Asked: true, Stop: a.stop, Progress: func(p providers.Progress) {
		began = true
		p.Mailbox = from
		view.event(apply.Event{Type: "progress", At: a.clock.Now(), Progress: &p})
	}})
	if errors.Is(err, providers.ErrStopped) {
		view.end(nil)
		return nil // the exit code of an interrupt
	}
	if err != nil {
		view.end(nil)
		if !began {
			return err // nothing was attempted: a login was refused, a host is unreachable
		}
		return exitWith(exitFailed, err)
	}
	return a.copied(view, result, engine.QuarantinePath(box))
}

// copied says what a pass did and ends with its exit code.
func (a *app) copied(v *applyView, r providers.PassResult, quarantine string) error {
	code := exitOK
	if r.Quarantined > 0 || r.Doubt > 0 || r.Different > 0 {
		code = exitFailed
	}
	if a.json {
		v.total = r
		v.encode(summaryJSON{"summary", r.Copied, r.Unchanged, r.Flags, r.Moved, r.Deleted, r.Quarantined, r.Doubt, r.Octets})
		v.encode(exitJSON{"exit", code})
		return exit(code)
	}
	v.end(nil)
	v.print(fmt.Sprintf("%s copied (%s), %s unchanged, %s flags, %s moved, %s deleted, %s in quarantine, %s in doubt.",
		render.Count(int64(r.Copied)), render.Size(r.Octets), render.Count(int64(r.Unchanged)), render.Count(int64(r.Flags)),
		render.Count(int64(r.Moved)), render.Count(int64(r.Deleted)), render.Count(int64(r.Quarantined)), render.Count(int64(r.Doubt))))
	for _, w := range r.Refusals {
		v.print("  refused: " + render.Escape(w))
	}
	if r.Quarantined > 0 {
		v.print("  what the target refused lies in " + a.name(quarantine))
	}
	if r.KeywordsLost > 0 {
		v.print(fmt.Sprintf("  the target keeps no keywords: %s were left out", render.Count(int64(r.KeywordsLost))))
	}
	if r.Skipped > 0 {
		v.print(fmt.Sprintf("  marked as deleted at the source and left out, because the target can't keep that: %s", render.Count(int64(r.Skipped))))
	}
	if r.Altered > 0 {
		v.print(fmt.Sprintf("  the target changed %s: each is named in the manifest with what is different", render.Count(int64(r.Altered))))
	}
	if r.Different > 0 {
		v.print(fmt.Sprintf("  %s of them came back as another message", render.Count(int64(r.Different))))
	}
	if v.err != nil {
		return v.err
	}
	return exit(code)
}

func (o copyOptions) limits() (plan.Limits, error) {
	l := plan.Limits{ConnectionsPerMailbox: o.connections, ConnectionsTotal: o.connections}
	if o.connections < 1 || o.connections > 50 {
		return l, usage("-connections wants a number from 1 to 50")
	}
	if o.deletes != "keep" && o.deletes != "mirror" {
		return l, usage("-deletes wants keep or mirror")
	}
	for _, d := range []struct {
		flag, text string
		to         *time.Duration
	}{{"-doubt-grace", o.grace, &l.DoubtGrace}, {"-stall-timeout", o.stall, &l.StallTimeout}} {
		if d.text == "" {
			continue
		}
		v, err := plan.ParseDuration(d.text)
		if err != nil {
			return l, usage("%s: %v", d.flag, err)
		}
		*d.to = v
	}
	return l, nil
}

// parseHost reads imaps://user@host:port.
func (a *app) parseHost(text, side string, o copyOptions, limits plan.Limits) (plan.Host, string, error) {
	u, err := url.Parse(text)
	if err != nil || u.User == nil || u.Hostname() == "" || u.User.Username() == "" {
		return plan.Host{}, "", usage("the %s is written imaps://user@host[:port], with @ in the user as %%40", side)
	}
	if _, has := u.User.Password(); has {
		return plan.Host{}, "", usage("a password does not belong on the command line: use -%s-password env:NAME or file:PATH", side)
	}
	tls, ok := map[string]plan.TLSMode{"imaps": plan.TLSImplicit, "imap+starttls": plan.TLSStart, "imap+none": plan.TLSNone}[u.Scheme]
	if !ok {
		return plan.Host{}, "", usage("the %s begins with imaps://, imap+starttls:// or imap+none://, not %s://", side, render.Escape(u.Scheme))
	}
	h := plan.Host{Kind: "imap", Name: side, Hostname: u.Hostname(), TLS: tls, CAFile: o.caFile, Username: "{address}", Auth: "plain", Limits: limits}
	if tls == plan.TLSNone && !loopback(h.Hostname) {
		return plan.Host{}, "", usage("imap+none:// sends the password in the clear and is for loopback addresses alone")
	}
	if u.Port() != "" {
		if h.Port, err = strconv.Atoi(u.Port()); err != nil {
			return plan.Host{}, "", usage("the %s has no usable port", side)
		}
	}
	where := o.sourcePassword
	if side == "target" {
		where = o.targetPassword
	}
	if h.Credentials, err = passwordRef(where, side, u.User.Username()); err != nil {
		return plan.Host{}, "", err
	}
	return h, u.User.Username(), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// passwordRef turns env:NAME, file:PATH or command:ARGV into a reference.
func passwordRef(where, side, user string) (plan.SecretRef, error) {
	kind, rest, ok := strings.Cut(where, ":")
	name := side + " password"
	switch {
	case where == "":
		return plan.SecretRef{Name: name, Kind: "prompt", Ref: "Password of " + user + " at the " + side}, nil
	case !ok || rest == "":
	case kind == "env" || kind == "file":
		return plan.SecretRef{Name: name, Kind: kind, Ref: rest}, nil
	case kind == "command":
		return plan.SecretRef{Name: name, Kind: kind, Argv: strings.Fields(rest)}, nil
	}
	return plan.SecretRef{}, usage("-%s-password wants env:NAME, file:PATH or command:ARGV", side)
}
