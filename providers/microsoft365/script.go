package microsoft365

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// Script is the PowerShell script that does what a plan leaves to a person at a tenant whose Exchange is changed by
// hand: the same changes, in the plan's order. It is a pure function of its inputs, so that it is
// reviewed with the plan. It may be run again after it stopped: what is there already is
// left alone. Without such steps it is empty.
func Script(p *plan.Plan, m *plan.Migration, host plan.Host) string {
	s := script{host: host, m: m}
	for _, step := range p.Steps {
		if step.Action == plan.ByHand && s.concerns(step) {
			s.step(step)
		}
	}
	if len(s.lines) == 0 {
		return ""
	}
	head := []string{
		fmt.Sprintf("# What plan %04d of %s leaves to a person in Exchange Online. Read it, then run it in PowerShell 7 with", p.Number, comment(p.Name)),
		"# the module ExchangeOnlineManagement, signed in as an Exchange Administrator. It may be run again.",
		"# mxodus apply looks whether it was done.",
		"$ErrorActionPreference = 'Stop'",
		"Import-Module ExchangeOnlineManagement",
		"Connect-ExchangeOnline -Organization " + quote(host.Settings["tenant"]) + " -ShowBanner:$false",
		"",
	}
	return strings.Join(append(head, s.lines...), "\n") + "\n"
}

type script struct {
	host  plan.Host
	m     *plan.Migration
	lines []string
	known bool // the lines that make Exchange know the application are there
}

// quote makes a PowerShell string of s that stands for nothing else: in single quotes
// nothing is expanded, and only quotes, curly ones too, have to be doubled.
// https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r >= '\u2018' && r <= '\u201b':
			b.WriteRune(r)
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029:
			b.WriteByte(' ') // a line break could end the line for those who read it
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// comment is text that can't end a comment.
func comment(s string) string { return strings.Trim(quote(s), "'") }

func (s *script) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// unless runs a command when another one finds nothing.
func (s *script) unless(find, then string) {
	s.add("if (-not (%s -ErrorAction SilentlyContinue)) { %s }", find, then)
}

func (s *script) mailbox(address string) (plan.Mailbox, bool) {
	i := slices.IndexFunc(s.m.Mailboxes, func(m plan.Mailbox) bool { return m.Target == address && m.On == s.host.Key() })
	if i < 0 {
		return plan.Mailbox{}, false
	}
	return s.m.Mailboxes[i], true
}

// concerns reports whether the step is about this target.
func (s *script) concerns(step plan.Step) bool {
	kind, rest, _ := strings.Cut(step.Address, "/")
	switch kind {
	case "shared", "access", "catchall":
		_, ok := s.mailbox(rest)
		return ok
	case "alias", "list", "forwarder":
		return slices.ContainsFunc(step.To, func(l string) bool { return l == rest+" at "+s.host.Key() })
	case "domain":
		name, _, _ := strings.Cut(rest, "/")
		d, ok := s.m.Domain(name)
		return ok && d.Mail == s.host.Key()
	}
	return false
}

func (s *script) step(step plan.Step) {
	kind, rest, _ := strings.Cut(step.Address, "/")
	s.add("# %s", comment(step.Address))
	id := quote(rest)
	switch kind {
	case "shared":
		m, _ := s.mailbox(rest)
		name := m.DisplayName
		if name == "" {
			name, _, _ = strings.Cut(rest, "@")
		}
		s.unless("Get-Mailbox -Identity "+id, fmt.Sprintf("New-Mailbox -Shared -Name %s -DisplayName %s -PrimarySmtpAddress %s | Out-Null", id, quote(name), id))
		for _, who := range m.FullAccess {
			s.add("Add-MailboxPermission -Identity %s -User %s -AccessRights FullAccess | Out-Null", id, quote(who))
		}
		for _, who := range m.SendAs {
			s.add("Add-RecipientPermission -Identity %s -Trustee %s -AccessRights SendAs -Confirm:$false | Out-Null", id, quote(who))
		}
		s.add("# block the sign-in of its user: https://admin.microsoft.com, Users, %s, Block sign-in", comment(rest))
	case "access":
		s.application()
		if limit := s.host.Oversize.Limit; limit > 0 {
			size := sizeText(min(limit, largestMessage))
			s.add("Set-Mailbox -Identity %s -MaxReceiveSize %s -MaxSendSize %s", id, size, size)
		}
		s.add("Set-CASMailbox -Identity %s -ImapEnabled $true", id)
		s.add("Add-MailboxPermission -Identity %s -User $app -AccessRights FullAccess -AutoMapping $false | Out-Null", id)
	case "alias":
		for _, a := range s.m.Aliases {
			if a.Address == rest {
				owner := quote(a.Deliver)
				s.add("if (Get-Mailbox -Identity %s -ErrorAction SilentlyContinue) { Set-Mailbox -Identity %s -EmailAddresses @{Add = %s} } else { Set-DistributionGroup -Identity %s -EmailAddresses @{Add = %s} }",
					owner, owner, quote("smtp:"+rest), owner, quote("smtp:"+rest))
			}
		}
	case "list":
		for _, l := range s.m.Lists {
			if l.Address == rest {
				s.list(rest, l.Members, l.External, nil)
			}
		}
	case "forwarder":
		for _, f := range s.m.Forwarders {
			switch {
			case f.Address != rest:
			case f.KeepCopy:
				s.unless("Get-Mailbox -Identity "+id, fmt.Sprintf("New-Mailbox -Shared -Name %s -PrimarySmtpAddress %s | Out-Null", id, id))
				for _, to := range f.Deliver {
					s.contact(to)
				}
				s.add("Set-Mailbox -Identity %s -ForwardingAddress %s -DeliverToMailboxAndForward $true", id, quote(f.Deliver[0]))
			default:
				s.list(rest, f.Deliver, true, f.Deliver)
			}
		}
	case "catchall":
		domain := domainOf(rest)
		s.unless("Get-DynamicDistributionGroup -Identity "+quote(everyoneOf(domain)), fmt.Sprintf("New-DynamicDistributionGroup -Name %s -IncludedRecipients AllRecipients | Out-Null", quote(everyoneOf(domain))))
		s.unless("Get-TransportRule -Identity "+quote(ruleOf(domain)), fmt.Sprintf("New-TransportRule -Name %s -RecipientDomainIs %s -ExceptIfSentToMemberOf %s -RedirectMessageTo %s | Out-Null",
			quote(ruleOf(domain)), quote(domain), quote(everyoneOf(domain)), id))
		s.add("Set-AcceptedDomain -Identity %s -DomainType InternalRelay", quote(domain))
	case "domain":
		name, part, _ := strings.Cut(rest, "/")
		domain := quote(name)
		if part == "keys" {
			s.unless("Get-DkimSigningConfig -Identity "+domain, fmt.Sprintf("New-DkimSigningConfig -DomainName %s -KeySize 2048 -Enabled $false | Out-Null", domain))
			s.add("Get-DkimSigningConfig -Identity %s | Format-List Selector1CNAME, Selector2CNAME", domain)
			s.add("# write both names into the configuration: record \"CNAME\" \"selector1._domainkey\" and \"selector2._domainkey\" of domain \"%s\"", comment(name))
		} else {
			s.add("Set-DkimSigningConfig -Identity %s -Enabled $true", domain)
		}
	}
	s.add("")
}

// application makes Exchange know the application, once in a script.
func (s *script) application() {
	if s.known {
		return
	}
	s.known = true
	client := quote(s.host.Settings["client_id"])
	s.add("$app = (Get-ServicePrincipal | Where-Object AppId -eq %s).ObjectId", client)
	s.add("if (-not $app) {")
	s.add("  # The object id is the enterprise application's, not the registration's: https://entra.microsoft.com, Enterprise applications.")
	s.add("  $app = Read-Host 'Object ID of the enterprise application'")
	s.add("  New-ServicePrincipal -AppId %s -ObjectId $app -DisplayName 'mxodus' | Out-Null", client)
	s.add("}")
}

func (s *script) contact(address string) {
	s.unless("Get-Recipient -Identity "+quote(address), fmt.Sprintf("New-MailContact -Name %s -ExternalEmailAddress %s | Out-Null", quote(address), quote(address)))
}

func (s *script) list(address string, members []string, external bool, outside []string) {
	id := quote(address)
	local, _, _ := strings.Cut(address, "@")
	closed := "$" + strconv.FormatBool(!external)
	for _, o := range outside {
		s.contact(o)
	}
	s.unless("Get-DistributionGroup -Identity "+id, fmt.Sprintf("New-DistributionGroup -Name %s -Alias %s -PrimarySmtpAddress %s -Type Distribution | Out-Null", id, quote(alias(local)), id))
	s.add("Set-DistributionGroup -Identity %s -RequireSenderAuthenticationEnabled %s", id, closed)
	for _, m := range members {
		s.add("Add-DistributionGroupMember -Identity %s -Member %s -BypassSecurityGroupManagerCheck -ErrorAction SilentlyContinue", id, quote(m))
	}
}
