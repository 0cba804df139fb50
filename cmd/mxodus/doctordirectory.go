package main

import (
	"context"
	"fmt"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// directoryFindings is what every target with a directory says of the grants, permissions and
// services that the migration will need there.
func directoryFindings(ctx context.Context, m *plan.Migration, sys *systems) []findingJSON {
	var list []findingJSON
	for _, h := range m.Targets {
		d, ok := sys.Directory(h.Key())
		if !ok {
			continue
		}
		for _, f := range d.Check(ctx, directoryKinds(m, h)) {
			list = append(list, findingJSON{Check: f.Check, Subject: f.Subject, OK: f.OK, Code: f.Code, Detail: f.Detail, Remedy: f.Remedy, Source: h.Pos.String()})
		}
	}
	return list
}

// directoryKinds are the kinds of change that a migration may ask of a target's directory.
func directoryKinds(m *plan.Migration, h plan.Host) []string {
	set := map[string]bool{}
	for _, b := range m.Mailboxes {
		if b.On != h.Key() {
			continue
		}
		set["access"], set["application"] = true, true
		switch b.Kind {
		case plan.SharedMailbox:
			set["shared"] = true
		case plan.CatchAllMailbox:
			set["account"], set["catchall"] = true, true
		default:
			set["account"] = true
		}
	}
	for _, a := range m.Aliases {
		set["alias"] = set["alias"] || a.On == h.Key()
	}
	for _, l := range m.Lists {
		set["list"] = set["list"] || l.On == h.Key()
	}
	for _, f := range m.Forwarders {
		set["forwarder"] = set["forwarder"] || f.On == h.Key()
	}
	for _, d := range m.Domains {
		if d.Mail == h.Key() {
			for _, kind := range []string{"domain", "domain/verify", "domain/keys", "domain/dkim"} {
				set[kind] = true
			}
		}
	}
	var kinds []string
	for k, yes := range set {
		if yes {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// directoryLogin tries a mailbox of a target that has a directory. What a step of the plan
// makes is no failure; what is switched off at a mailbox that is there is one.
func directoryLogin(ctx context.Context, b plan.Mailbox, d providers.Directory, sys *systems) (string, error) {
	facts, err := d.Observe(ctx, providers.DirectoryQuery{Mailboxes: []plan.Mailbox{b}, Access: true})
	if err != nil {
		return "", err
	}
	if len(facts.Mailboxes) == 0 || !facts.Mailboxes[0].Exists {
		return "", &codedError{code: "will_be_made", detail: b.Target + " isn't there yet: the plan has a step for it", ok: true}
	}
	if why := facts.Pending[b.Target]; why != "" {
		return "", &codedError{code: "being_made", detail: why, ok: true}
	}
	detail, err := login(ctx, sys.Target, b.On, b.Target, b.Credentials)
	if err == nil {
		return detail, nil
	}
	switch box := facts.Mailboxes[0]; {
	case providers.ReasonOf(err) == providers.Unreachable, providers.ReasonOf(err) == providers.Certificate, providers.ReasonOf(err) == providers.Throttled:
		return "", err
	case sys.byHand[b.On]:
		return "", fmt.Errorf("%w (the plan has a step that a person does: it opens the mailbox for the application)", err)
	case !box.IMAP:
		return "", &codedError{code: "imap_off", detail: "IMAP is switched off for " + b.Target,
			remedy: fmt.Sprintf("switch it on: Set-CASMailbox -Identity %s -ImapEnabled $true, or https://admin.microsoft.com, Users, the user, Mail, Manage email apps; the plan's step access/%s does it too", b.Target, b.Target)}
	case !box.Application:
		return "", &codedError{code: "will_be_granted", detail: "the application may not open " + b.Target + " yet: the plan has a step for it (Add-MailboxPermission)", ok: true}
	}
	return "", &codedError{code: "imap_refused", detail: err.Error(),
		remedy: "rights and switches take up to an hour to count; if it stays, see that Exchange knows the application by the object id of its enterprise application (Get-ServicePrincipal), not of its registration"}
}

// targetTrial tries the login at the target.
func targetTrial(b plan.Mailbox, sys *systems, behind func(context.Context, error) imap.Diagnosis) trial {
	t := trial{check: "target_login", subject: b.Target + " at " + b.On, pos: b.Pos.String(), group: "at " + b.On + " log in"}
	if d, ok := sys.Directory(b.On); ok {
		t.try = func(ctx context.Context) (string, error) { return directoryLogin(ctx, b, d, sys) }
		return t
	}
	t.behind = behind
	t.try = func(ctx context.Context) (string, error) {
		detail, err := login(ctx, sys.Target, b.On, b.Target, b.Credentials)
		if providers.ReasonOf(err) == providers.Authentication {
			// A plan makes accounts that are missing; a person mends a wrong password.
			return "", fmt.Errorf("%w (where the account does not exist yet, the plan has a step for it)", err)
		}
		return detail, err
	}
	return t
}
