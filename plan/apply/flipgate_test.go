package apply

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// scenario is one state of the world at the gate of the flip.
type scenario struct {
	name string
	// set is called before the plan is made final, with everything in order.
	set func(l *flipLab)
	// no are the checks that say no; none: the flip is written.
	no []string
	// drift: the steps are refused because somebody changed a record.
	drift bool
	// says is a part of what the first refusal, or a warning, has to say.
	says string
	// then mends or breaks something; the next run goes by next.
	then func(l *flipLab)
	next *scenario
}

// TestGateOfTheFlip has each scenario decided by the engine against real servers: a
// check that is false means that nothing is written, not even in part.
func TestGateOfTheFlip(t *testing.T) {
	names := map[string]bool{}
	n := 0
	for _, s := range gateScenarios() {
		if names[s.name] {
			t.Fatalf("two scenarios are called %q", s.name)
		}
		names[s.name] = true
		for step := &s; step != nil; step = step.next {
			n++
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			l := startFlipLab(t)
			if s.set != nil {
				s.set(l)
			}
			l.prepare()
			for step := &s; step != nil; step = step.next {
				l.decide(step)
				if step.then != nil {
					step.then(l)
				}
			}
		})
	}
	if n < 60 {
		t.Errorf("%d decisions, want at least 60", n)
	}
}

// decide runs apply once and holds what it did against the scenario.
func (l *flipLab) decide(s *scenario) {
	t := l.t
	t.Helper()
	before, master := l.updates(), l.master.Sets()
	l.events = nil
	out := l.run()
	written := l.updates() - before
	told := fmt.Sprint(out.Refused, l.events)
	if s.says != "" && !strings.Contains(told, s.says) {
		t.Errorf("nothing says %q: refused %+v\nevents %+v", s.says, out.Refused, l.events)
	}
	if len(s.no) > 0 || s.drift {
		if !slices.Equal(refusedBy(out), s.no) && !s.drift {
			t.Errorf("refused by %v, want %v: %+v", refusedBy(out), s.no, out.Refused)
		}
		if s.drift != (len(out.Drift) > 0) {
			t.Errorf("drift: %v, want some: %v", out.Drift, s.drift)
		}
		if written != 0 || fmt.Sprint(master) != fmt.Sprint(l.master.Sets()) {
			t.Errorf("%d writes, and none was allowed", written)
		}
		return
	}
	if len(out.Refused)+len(out.Drift)+len(out.Failed) > 0 {
		t.Errorf("not flipped: %+v, drift %v, failed %v", out.Refused, out.Drift, out.Failed)
	}
	if written != 1 {
		t.Errorf("%d writes, want one update with the whole flip", written)
	}
	for _, now := range l.master.Sets() {
		i := slices.IndexFunc(master, func(o plan.RRset) bool { return o.Name == now.Name && o.Type == now.Type })
		want, err := l.flipOf(now)
		switch {
		case err == nil && !now.Equal(want):
			t.Errorf("%s %s is %v, want %v", now.Name, now.Type, now.Lines(), want.Lines())
		case err != nil && (i < 0 || !master[i].Equal(now)):
			t.Errorf("%s %s is %v, and the plan doesn't name it", now.Name, now.Type, now.Data)
		}
	}
	l.sixtySeconds()
}

func (l *flipLab) flipOf(s plan.RRset) (plan.RRset, error) {
	for _, step := range l.p.Steps {
		if at, err := parseDNS(step.Address); err == nil && step.Phase == plan.Flip && at.fqdn() == s.Name && at.typ == s.Type {
			return plan.ParseRRset(s.Name, s.Type, step.To)
		}
	}
	return plan.RRset{}, fmt.Errorf("not of the flip")
}

// sixtySeconds holds the journal against the promise: every answer that the
// gate opened on, and its evidence, is less than a minute older than the write.
func (l *flipLab) sixtySeconds() {
	l.t.Helper()
	var answers []Answer
	for _, e := range l.j.entries {
		var d entryData
		if e.Event == evEvidence && json.Unmarshal(e.Data, &d) == nil {
			answers = d.Answers
		}
		if e.Event != evStarted || !strings.HasPrefix(e.Step, "dns/") || strings.HasSuffix(e.Step, "/ttl") {
			continue
		}
		got := map[string]bool{}
		for _, a := range answers {
			got[a.Check.Name] = a.OK
			if age := e.At.Sub(a.At); age < 0 || age > freshness {
				l.t.Errorf("the answer of %s is %s older than the write", a.Check, age)
			}
			for _, s := range a.Evidence {
				if age := e.At.Sub(s.At); age < 0 || age > freshness || s.Server == "" || s.Asked == "" {
					l.t.Errorf("evidence of %s: %+v, %s before the write", a.Check, s, age)
				}
			}
		}
		for _, name := range beforeFlip {
			if !got[name] {
				l.t.Errorf("%s was not asked, or said no, before the write", name)
			}
		}
		return
	}
	l.t.Error("the journal holds no write of the flip")
}

// mended is the second half of a scenario that ends well.
func mended(then func(l *flipLab)) (func(l *flipLab), *scenario) { return then, &scenario{} }

func flapping(s scenario, then func(l *flipLab)) scenario {
	s.then, s.next = mended(then)
	return s
}

func acme(typ string, ttl uint32, data ...string) plan.RRset {
	return set("acme.example.", typ, ttl, data...)
}

func gateScenarios() []scenario {
	servers := []scenario{
		{name: "everything in order"},
		{name: "smtp_probe in place of the MX", set: func(l *flipLab) { l.m.Targets[0].SMTPProbe = l.newMX.Addr }, says: "the old MX goes on taking mail was not asked"},
		{name: "smtp_probe is off", set: func(l *flipLab) { l.m.Targets[0].SMTPProbe = "off" }, says: "smtp_probe is off"},
		{name: "a laboratory without a resolver", set: func(l *flipLab) {
			l.m.Zones = []plan.ZoneConfig{{Kind: "rfc2136", Server: "127.0.0.1:53"}}
		}, says: "could not be asked: no resolver is named"},
		flapping(scenario{name: "one server is silent", set: func(l *flipLab) { l.third.Silent(true) }, no: []string{"name_servers_agree", "old_ttl_expired_everywhere"}, says: "does not answer"},
			func(l *flipLab) { l.third.Silent(false) }),
		flapping(scenario{name: "one server fails", set: func(l *flipLab) { l.second.Fail(mdns.RcodeServerFailure) }, no: []string{"name_servers_agree", "old_ttl_expired_everywhere"}, says: "SERVFAIL"},
			func(l *flipLab) { l.second.Fail(0) }),
		{name: "one server refuses", set: func(l *flipLab) { l.second.Fail(mdns.RcodeRefused) }, no: []string{"name_servers_agree", "old_ttl_expired_everywhere"}, says: "lame"},
		flapping(scenario{name: "one server is lame", set: func(l *flipLab) { l.third.Lame(true) }, no: []string{"name_servers_agree", "old_ttl_expired_everywhere"}, says: "does not answer with authority (lame)"},
			func(l *flipLab) { l.third.Lame(false) }),
		flapping(scenario{name: "one server lags behind in its serial alone", set: func(l *flipLab) {
			l.third.Lag(time.Hour)
			l.put(set("www.acme.example.", "A", 300, "192.0.2.99"))
		}, no: []string{"name_servers_agree"}, says: "lag behind: serial 1, the newest is 2"},
			func(l *flipLab) { l.third.Lag(0) }),
		{name: "two servers lag behind", set: func(l *flipLab) {
			l.second.Lag(time.Hour)
			l.third.Lag(time.Hour)
			l.put(set("www.acme.example.", "A", 300, "192.0.2.99"))
		}, no: []string{"name_servers_agree"}, says: "lag behind"},
		{name: "a server catches up while apply watches", set: func(l *flipLab) { l.third.Lag(300 * time.Millisecond) }},
		flapping(scenario{name: "one server lies about the MX", set: func(l *flipLab) { l.second.Lie(acme("MX", 60, "10 elsewhere.example.")) }, no: []string{"name_servers_agree"}, says: "out of step with its own zone"},
			func(l *flipLab) { l.second.Honest() }),
		{name: "one server denies the MX", set: func(l *flipLab) { l.second.Lie(acme("MX", 0)) }, no: []string{"name_servers_agree"}, says: "serves absent under the serial 1"},
		{name: "one server lies about the SPF record", set: func(l *flipLab) { l.third.Lie(acme("TXT", 60, `"v=spf1 +all"`)) }, no: []string{"name_servers_agree"}},
		{name: "all servers lie alike, and the provider holds another MX", set: func(l *flipLab) {
			for _, s := range []interface{ Lie(plan.RRset) }{l.second, l.third} {
				s.Lie(acme("MX", 60, "10 elsewhere.example."))
			}
		}, no: []string{"name_servers_agree"}},
		{name: "a server that truncates over UDP", set: func(l *flipLab) { l.second.Truncate(true) }},
		{name: "a server from before EDNS0", set: func(l *flipLab) { l.second.NoEDNS(true) }},
		{name: "the zone can't be listed", set: func(l *flipLab) { l.primary.RefuseTransfers(true) }, says: "can't be listed"},
		{name: "the provider refuses the key", set: func(l *flipLab) {
			l.zone = unreadable{l.zone, &providers.Error{Op: "read zone", Reason: providers.Authentication}}
		}, no: []string{"name_servers_agree", "zone_as_planned"}, says: "authentication"},
	}
	ttl := []scenario{
		{name: "one server gives the old TTL again, and it has to run out anew", set: func(l *flipLab) { l.second.Lie(acme("MX", 3600, "10 mx.old.example.")) },
			no: []string{"old_ttl_expired_everywhere"}, says: "with TTL 3600 again",
			then: func(l *flipLab) { l.second.Honest() },
			next: &scenario{no: []string{"old_ttl_expired_everywhere"}, says: "the old TTL was served again",
				then: func(l *flipLab) { l.clock.ahead.Add(int64(61 * time.Second)) },
				next: &scenario{}}},
		{name: "the TTL was raised in the zone", set: func(l *flipLab) { l.put(acme("MX", 3600, "10 mx.old.example.")) }, no: []string{"old_ttl_expired_everywhere"}},
	}
	drift := []scenario{
		{name: "somebody changed the MX", set: func(l *flipLab) { l.put(acme("MX", 60, "10 third.example.")) }, drift: true},
		{name: "somebody deleted the MX", set: func(l *flipLab) { l.put(acme("MX", 60)) }, drift: true},
		{name: "somebody added to the SPF record's set", set: func(l *flipLab) {
			l.put(acme("TXT", 60, `"other"`, `"v=spf1 include:spf.old.example -all"`, `"new"`))
		}, drift: true},
		{name: "somebody changed autodiscover", set: func(l *flipLab) { l.put(set("autodiscover.acme.example.", "CNAME", 60, "x.example.")) }, drift: true},
		{name: "a record that the plan doesn't name changed", set: func(l *flipLab) { l.put(set("www.acme.example.", "A", 300, "192.0.2.7")) }},
	}
	people := []scenario{
		flapping(scenario{name: "a target account is gone", set: func(l *flipLab) { delete(l.accounts, "jens@acme.example") }, no: []string{"accounts_ready"}, says: "jens@acme.example"},
			func(l *flipLab) { l.accounts["jens@acme.example"] = true }),
		{name: "a directory that is in order", set: inTenant(func(*labTenant) {})},
		{name: "a directory without the domain", set: inTenant(func(d *labTenant) { d.facts.Directory.Domains[0].Verified = false }), no: []string{"accounts_ready"}, says: "is not verified"},
		{name: "a user without a licence", set: inTenant(func(d *labTenant) { d.facts.Mailboxes[1].Licenses = nil }), no: []string{"accounts_ready"}, says: "has not the licence BASIC"},
		{name: "a mailbox that is being made", set: inTenant(func(d *labTenant) { d.facts.Pending["jens@acme.example"] = "it is being made" }), no: []string{"accounts_ready"}, says: "is not ready"},
		{name: "a directory that refuses", set: inTenant(func(d *labTenant) { d.err = &providers.Error{Op: "read", Reason: providers.Refused} }), no: []string{"accounts_ready"}, says: "could not be asked"},
		flapping(scenario{name: "an address has no home at the new MX", set: func(l *flipLab) { l.newMX.Refuse("jens@acme.example") }, no: []string{"every_address_exists_at_target"}, says: "does not take mail for it"},
			func(l *flipLab) { l.newMX.Accept("jens@acme.example") }),
		{name: "an alias has no home at the new MX", set: func(l *flipLab) {
			l.m.Aliases = []plan.Alias{{Address: "info@acme.example", Deliver: "anna@acme.example", On: "imap.new"}}
		}, no: []string{"every_address_exists_at_target"}, says: "info@acme.example"},
		{name: "the plan found an address without a home", set: func(l *flipLab) {
			l.p.Findings = []plan.Finding{{Check: "every_address_exists_at_target", Severity: plan.Blocks, Gate: "flip", Subject: "acme.example", Summary: "1 address has no home", Detail: []string{"x@acme.example"}}}
		}, no: []string{"every_address_exists_at_target"}},
		{name: "the new MX takes mail for every name", set: func(l *flipLab) { l.acceptAll() }},
		{name: "the new MX takes mail for every name, and an account is gone", set: func(l *flipLab) {
			l.acceptAll()
			delete(l.accounts, "jens@acme.example")
		}, no: []string{"accounts_ready", "every_address_exists_at_target"}},
		{name: "the source has closed a mailbox", set: func(l *flipLab) { l.closed["anna@acme.example"] = true }, no: []string{"source_keeps_accepting"}, says: "does not let it in any more"},
		{name: "the old MX takes no mail any more", set: func(l *flipLab) { l.oldMX.Refuse("anna@acme.example") }, no: []string{"source_keeps_accepting"}, says: "the old MX takes no mail"},
		{name: "the old MX can't be reached from here", set: func(l *flipLab) { delete(l.exchange, "mx.old.example:25") }, says: "could not be asked from here"},
		{name: "messages of a copy are in doubt", set: func(l *flipLab) { l.lastPass.Result.Doubt = 1 }, no: []string{"bulk_copy_complete"}, says: "in doubt"},
		{name: "messages are in quarantine", set: func(l *flipLab) { l.lastPass.Result.Quarantined = 2 }, says: "messages in quarantine"},
	}
	return slices.Concat(servers, ttl, drift, people, mxScenarios(), policyScenarios())
}

func mxScenarios() []scenario {
	mx := func(data ...string) func(*flipLab) { return func(l *flipLab) { l.flipTo("MX", "@", data...) } }
	return []scenario{
		{name: "the new MX is an alias", set: func(l *flipLab) {
			l.putIn(l.fresh, set("alias.new.example.", "CNAME", 300, "mx.new.example."))
			l.flipTo("MX", "@", "10 alias.new.example.")
			l.exchange["alias.new.example:25"] = l.newMX.Addr
		}, no: []string{"new_mx_sound"}, says: "is an alias of mx.new.example"},
		{name: "the new MX has no address", set: func(l *flipLab) {
			l.flipTo("MX", "@", "10 gone.new.example.")
			l.exchange["gone.new.example:25"] = l.newMX.Addr
		}, no: []string{"new_mx_sound"}, says: "has no address"},
		{name: "the new MX in the zone has no address", set: func(l *flipLab) {
			l.flipTo("MX", "@", "10 gone.acme.example.")
			l.exchange["gone.acme.example:25"] = l.newMX.Addr
		}, no: []string{"new_mx_sound"}, says: "gone.acme.example has no address"},
		{name: "the flip itself gives the new MX its address", set: func(l *flipLab) {
			l.flipTo("MX", "@", "10 mail.acme.example.")
			l.flipTo("A", "mail", "192.0.2.30")
			l.exchange["192.0.2.30:25"] = l.newMX.Addr
		}},
		{name: "the new MX is a number", set: func(l *flipLab) {
			l.flipTo("MX", "@", "10 192.0.2.1.")
			l.exchange["192.0.2.1:25"] = l.newMX.Addr
		}, no: []string{"new_mx_sound"}, says: "names an address where a host name has to stand"},
		{name: "a null MX", set: mx("0 ."), no: []string{"new_mx_sound"}, says: "takes no mail (RFC 7505)"},
		{name: "a host of the old MX is left beside", set: mx("10 mx.new.example.", "20 mx.old.example."), no: []string{"new_mx_sound"}, says: "left beside the new one"},
		{name: "the new MX does not answer", set: func(l *flipLab) { delete(l.exchange, "mx.new.example:25") }, no: []string{"new_mx_sound", "target_accepts_mail"}, says: "does not answer"},
		{name: "one of two new exchangers does not answer", set: mx("10 mx.new.example.", "20 mx2.new.example."), says: "one of several mail exchangers"},
		{name: "the new MX offers no STARTTLS", says: "offers no STARTTLS"},
		{name: "the certificate is for the name", set: func(l *flipLab) { l.secured("mx.new.example") }, says: "is not one that senders with MTA-STS would take"},
		{name: "the certificate is for another name", set: func(l *flipLab) { l.secured("other.example") }, no: []string{"new_mx_sound"}, says: "has no certificate for its name"},
		{name: "the certificate is for another name, asked at smtp_probe", set: func(l *flipLab) {
			l.secured("other.example")
			l.m.Targets[0].SMTPProbe = l.newMX.Addr
		}, says: "asked in place of the MX"},
		{name: "nobody can look at the exchanger", set: func(l *flipLab) { l.noMXLook = true }},
		{name: "the TLSA record fits", set: func(l *flipLab) {
			l.tlsa(l.secured("mx.new.example"))
			l.resolver.Validate(true)
		}},
		{name: "the TLSA record fits nothing, in a signed zone", set: func(l *flipLab) {
			l.secured("mx.new.example")
			l.tlsa([]byte("another key"))
			l.resolver.Validate(true)
		}, no: []string{"tlsa_fits_new_mx"}, says: "none of the TLSA records"},
		{name: "the TLSA record fits nothing, and no zone is signed", set: func(l *flipLab) {
			l.secured("mx.new.example")
			l.tlsa([]byte("another key"))
		}, says: "none of the TLSA records"},
		{name: "TLSA and no TLS", set: func(l *flipLab) { l.tlsa([]byte("a key")); l.resolver.Validate(true) }, no: []string{"tlsa_fits_new_mx"}, says: "offers no TLS"},
	}
}

func policyScenarios() []scenario {
	spf := func(text string) func(*flipLab) {
		return func(l *flipLab) { l.flipTo("TXT", "@", `"other"`, `"`+text+`"`) }
	}
	key := set("acme.example.", "DNSKEY", 300, "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==")
	// The resolver's double asks the domain's own servers for the DS, too.
	ds := set("acme.example.", "DS", 300, "370 13 2 be74359954660069d5c63d200c39f5603827d7dd02b56f120ee9f3a86764247c")
	return []scenario{
		{name: "two SPF records", set: func(l *flipLab) { l.flipTo("TXT", "@", `"v=spf1 -all"`, `"v=spf1 include:spf.new.example -all"`) }, no: []string{"spf_sound"}, says: "2 SPF records"},
		{name: "no SPF record", set: func(l *flipLab) { l.flipTo("TXT", "@", `"other"`) }, says: "has no SPF record"},
		{name: "an SPF record with a mistake", set: spf("v=spf1 ip4:300.1.1.1 -all"), no: []string{"spf_sound"}},
		{name: "an include that doesn't exist", set: spf("v=spf1 include:gone.new.example -all"), no: []string{"spf_sound"}, says: "has 0 SPF records"},
		{name: "an include that nobody answers for", set: spf("v=spf1 include:spf.unknown.test -all"), says: "could not be followed"},
		{name: "eleven look-ups", set: spf("v=spf1 a mx a:www.acme.example a:mx.new.example a:mx2.new.example a:mx.new.example a:mx.new.example a:mx.new.example a:mx.new.example a:mx.new.example include:spf.new.example -all"), no: []string{"spf_sound"}, says: "11 look-ups"},
		{name: "three void look-ups", set: spf("v=spf1 a:a.new.example a:b.new.example a:c.new.example ip4:192.0.2.1 -all"), no: []string{"spf_sound"}, says: "find nothing"},
		{name: "the flip leaves an SPF record alone that was wrong before", set: func(l *flipLab) {
			l.p.Steps = slices.DeleteFunc(l.p.Steps, func(s plan.Step) bool { return s.Address == "dns/acme.example/TXT/@" })
			bad := acme("TXT", 60, `"v=spf1 -all"`, `"v=spf1 ~all"`)
			l.put(bad)
			for i, s := range l.inv.Domains[0].Sets {
				if s.Name == bad.Name && s.Type == "TXT" {
					l.inv.Domains[0].Sets[i].RRset = bad
				}
			}
		}, says: "2 SPF records"},
		{name: "an SPF record that went wrong since the plan", set: func(l *flipLab) {
			l.p.Steps = slices.DeleteFunc(l.p.Steps, func(s plan.Step) bool { return s.Address == "dns/acme.example/TXT/@" })
			l.put(acme("TXT", 60, `"v=spf1 -all"`, `"v=spf1 ~all"`))
		}, no: []string{"spf_sound"}},

		{name: "the new selector leads to a key", set: func(l *flipLab) { l.selector("new", "new.dkim.new.example.") }},
		{name: "the new selector leads nowhere", set: func(l *flipLab) {
			l.put(set("new._domainkey.acme.example.", "CNAME", 300, "gone.dkim.new.example."))
			l.selector("new", "gone.dkim.new.example.")
		}, no: []string{"dkim_keys_resolve"}, says: "where no key is"},
		{name: "the new selector's key is revoked", set: func(l *flipLab) {
			l.putIn(l.fresh, set("new.dkim.new.example.", "TXT", 300, `"v=DKIM1; p="`))
			l.selector("new", "new.dkim.new.example.")
		}, no: []string{"dkim_keys_resolve"}, says: "revoked"},
		{name: "the new selector can't be asked for", set: func(l *flipLab) {
			l.put(set("new._domainkey.acme.example.", "CNAME", 300, "k.unknown.test."))
			l.selector("new", "k.unknown.test.")
		}, says: "could not be asked for"},
		{name: "an old selector is gone", set: func(l *flipLab) { l.put(set("old._domainkey.acme.example.", "CNAME", 0)) }, no: []string{"dkim_keys_resolve"}, says: "old DKIM selector"},
		{name: "the flip takes an old selector away", set: func(l *flipLab) { l.flipTo("CNAME", "old._domainkey") }, no: []string{"dkim_keys_resolve"}, says: "or the flip takes it away"},

		{name: "the flip takes the DMARC policy away", set: func(l *flipLab) { l.flipTo("TXT", "_dmarc") }, no: []string{"dmarc_kept"}, says: "takes the DMARC policy"},
		{name: "the flip makes two DMARC records", set: func(l *flipLab) { l.flipTo("TXT", "_dmarc", `"v=DMARC1; p=none"`, `"v=DMARC1; p=reject"`) }, no: []string{"dmarc_kept"}, says: "2 DMARC records"},
		{name: "the flip tightens DMARC and nobody signs", set: func(l *flipLab) { l.flipTo("TXT", "_dmarc", `"v=DMARC1; p=reject"`) }, no: []string{"dmarc_kept"}, says: "stricter"},
		{name: "the flip tightens DMARC and the new host signs", set: func(l *flipLab) {
			l.flipTo("TXT", "_dmarc", `"v=DMARC1; p=reject; adkim=s"`)
			l.selector("new", "new.dkim.new.example.")
		}},
		{name: "a strict DMARC policy stays and nobody signs", set: func(l *flipLab) { l.put(set("_dmarc.acme.example.", "TXT", 300, `"v=DMARC1; p=reject"`)) }, says: "see that it signs"},
		{name: "a DMARC policy with a mistake was there before", set: func(l *flipLab) { l.put(set("_dmarc.acme.example.", "TXT", 300, `"v=DMARC1; p=perhaps"`)) }, says: "take no notice"},

		{name: "MTA-STS lists both hosts", set: func(l *flipLab) { l.policy("1", "enforce", 86400, "mx.old.example", "mx.new.example") }},
		{name: "MTA-STS lists the old host alone", set: func(l *flipLab) { l.policy("1", "enforce", 86400, "mx.old.example") }, no: []string{"mta_sts_allows_new_mx"}, says: "refuse mx.new.example"},
		{name: "MTA-STS by a wildcard", set: func(l *flipLab) { l.policy("1", "enforce", 86400, "*.new.example") }},
		{name: "MTA-STS in mode testing", set: func(l *flipLab) { l.policy("1", "testing", 86400, "mx.old.example") }, says: "in mode testing, does not name"},
		{name: "MTA-STS is mended, and the old policy is still held", set: func(l *flipLab) { l.policy("1", "enforce", 100, "mx.old.example") }, no: []string{"mta_sts_allows_new_mx"},
			then: func(l *flipLab) { l.policy("2", "enforce", 100, "mx.old.example", "mx.new.example") },
			next: &scenario{no: []string{"mta_sts_allows_new_mx"}, says: "senders may hold the MTA-STS policy 1",
				then: func(l *flipLab) { l.clock.ahead.Add(int64(101 * time.Second)) },
				next: &scenario{}}},
		{name: "MTA-STS was mended between plan and apply", set: func(l *flipLab) {
			l.inv.Domains[0].STS = inventory.STSPolicy{ID: "0", Mode: "enforce", MX: []string{"mx.old.example"}, MaxAge: time.Hour}
			l.policy("1", "enforce", 100, "mx.old.example", "mx.new.example")
		}, no: []string{"mta_sts_allows_new_mx"}, says: "senders may hold the MTA-STS policy 0"},
		{name: "the MTA-STS policy can't be fetched", set: func(l *flipLab) { l.put(set("_mta-sts.acme.example.", "TXT", 60, `"v=STSv1; id=1"`)) }, says: "could not be had"},
		{name: "the MTA-STS policy that was seen can't be fetched any more", set: func(l *flipLab) {
			l.inv.Domains[0].STS = inventory.STSPolicy{ID: "0", Mode: "enforce", MX: []string{"mx.old.example"}, MaxAge: time.Hour}
			l.put(set("_mta-sts.acme.example.", "TXT", 60, `"v=STSv1; id=1"`))
		}, no: []string{"mta_sts_allows_new_mx"}, says: "could not be fetched again"},

		{name: "an SRV record leads to the old host", set: func(l *flipLab) {
			l.put(set("_autodiscover._tcp.acme.example.", "SRV", 300, "0 0 443 autodiscover.old.example."))
		}, no: []string{"autodiscover_leads_to_target"}, says: "leads mail programs to autodiscover.old.example"},
		{name: "an SRV record leads to the new host", set: func(l *flipLab) {
			l.put(set("_autodiscover._tcp.acme.example.", "SRV", 300, "0 0 443 autodiscover.new.example."))
		}},
		{name: "the web server asks for a password at autodiscover", set: func(l *flipLab) { l.web(401, "text/html") }, no: []string{"autodiscover_leads_to_target"}, says: "HTTP 401"},
		{name: "the web server answers everything with a page", set: func(l *flipLab) { l.web(200, "text/html") }, says: "HTTP 200"},
		{name: "the web server knows nothing of autodiscover", set: func(l *flipLab) { l.web(404, "text/html") }},

		{name: "signed, and the chain holds", set: func(l *flipLab) {
			l.put(key, ds)
			l.resolver.Validate(true)
		}},
		flapping(scenario{name: "signed, and the chain is broken", set: func(l *flipLab) {
			l.put(key, ds)
			l.resolver.Validate(true)
			l.resolver.Break(true)
		}, no: []string{"dnssec_valid"}, says: "chain of signatures"}, func(l *flipLab) { l.resolver.Break(false); l.resolver.Flush() }),
		{name: "a DS and no key", set: func(l *flipLab) { l.put(ds) }, no: []string{"dnssec_valid"}, says: "the zone no key"},
		{name: "signed, and the resolver doesn't validate", set: func(l *flipLab) { l.put(key, ds) }, says: "doesn't validate"},
	}
}

// unreadable is a zone whose provider refuses to be read.
type unreadable struct {
	providers.Zone
	err error
}

func (z unreadable) Records(context.Context) ([]plan.RRset, bool, error) { return nil, false, z.err }
func (z unreadable) Lookup(_ context.Context, _, _ string) (plan.RRset, error) {
	return plan.RRset{}, z.err
}

// secured puts a server with STARTTLS in the new MX's place; its key comes back.
func (l *flipLab) secured(names ...string) []byte {
	config := certificate(l.t, names...)
	l.newMX = l.exchanger([]string{"anna@acme.example", "jens@acme.example"}, config)
	l.exchange["mx.new.example:25"] = l.newMX.Addr
	c, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil {
		l.t.Fatal(err)
	}
	return c.RawSubjectPublicKeyInfo
}

func (l *flipLab) tlsa(publicKey []byte) {
	sum := sha256.Sum256(publicKey)
	l.putIn(l.fresh, set("_25._tcp.mx.new.example.", "TLSA", 300, "3 1 1 "+hex.EncodeToString(sum[:])))
}

func (l *flipLab) selector(name, to string) {
	l.m.Domains[0].Records = append(l.m.Domains[0].Records, plan.Record{Type: "CNAME", Name: name + "._domainkey", At: plan.Provision, Values: []string{to}})
}

func (l *flipLab) web(status int, kind string) {
	l.put(set("acme.example.", "A", 300, "192.0.2.80"))
	l.pages["https://acme.example/autodiscover/autodiscover.xml"] = providers.Page{Status: status, Type: kind, Body: "x"}
}
