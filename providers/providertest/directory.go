package providertest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// DirectoryFixture is a directory under test, with ways around its provider.
type DirectoryFixture struct {
	Directory providers.Directory
	Host      string // key of the target
	License   string // a licence with at least two units left
	Domain    string // one that the directory doesn't have yet; its proof and its records are published as soon as they are named
	// Wait lets the time pass that the other side takes.
	Wait func()
	// Writes counts the requests so far that may have changed something.
	Writes func() int
	// Add puts a user with a mailbox there, past the provider.
	Add func(address string)

	// What follows may be nil where the system has no such thing; the cases are skipped then, by name.

	// Member puts somebody on a list, past the provider.
	Member func(list, address string)
	// SignIn reports whether the user of an address may sign in, and the password it has to change at first.
	SignIn func(address string) (may bool, password string)
}

// TestDirectory runs the suite for providers.Directory. What is made stays: open is called once.
func TestDirectory(t *testing.T, open func(t *testing.T) DirectoryFixture) {
	f := open(t)
	s := &directorySuite{DirectoryFixture: f, t: t}
	s.people()
	t.Run("nothing", s.nothing)
	t.Run("check", s.check)
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"domain", s.domain}, {"application", s.application}, {"account", s.account}, {"change", s.change}, {"shared", s.shared}, {"access", s.access},
		{"alias", s.alias}, {"list", s.list}, {"forwarder", s.forwarder}, {"catch-all", s.catchAll}, {"taken", s.taken}, {"everything", s.everything},
	} {
		if !t.Run(c.name, c.run) {
			return // the next ones build on it
		}
	}
}

type directorySuite struct {
	DirectoryFixture
	t                       *testing.T
	anna, jens, info, catch plan.Mailbox
	sales                   plan.Alias
	team                    plan.List
	bills                   plan.Forwarder
}

func (s *directorySuite) at(local string) string { return local + "@" + s.Domain }

func (s *directorySuite) people() {
	user := func(local, name string) plan.Mailbox {
		return plan.Mailbox{Kind: plan.UserMailbox, Target: s.at(local), On: s.Host, DisplayName: name, License: s.License, UsageLocation: "DE"}
	}
	s.anna, s.jens = user("anna", "Anna Weber"), user("jens", "Jens \"JJ\" Ö'Neil")
	s.info = plan.Mailbox{Kind: plan.SharedMailbox, Target: s.at("info"), On: s.Host, DisplayName: "Info", FullAccess: []string{s.at("anna"), s.at("jens")}, SendAs: []string{s.at("anna")}}
	s.catch = s.jens
	s.catch.Kind = plan.CatchAllMailbox
	s.sales = plan.Alias{Address: s.at("sales"), Deliver: s.at("anna"), On: s.Host}
	s.team = plan.List{Address: s.at("team"), Members: []string{s.at("anna"), s.at("jens")}, External: true, On: s.Host}
	s.bills = plan.Forwarder{Address: s.at("bills"), Deliver: []string{"bills@elsewhere.example", "copy@elsewhere.example"}, On: s.Host}
}

func (s *directorySuite) whole() providers.DirectoryQuery {
	return providers.DirectoryQuery{
		Domains: []string{s.Domain}, Mailboxes: []plan.Mailbox{s.anna, s.catch, s.info}, Aliases: []plan.Alias{s.sales},
		Lists: []plan.List{s.team}, Forwarders: []plan.Forwarder{s.bills}, Licenses: true,
	}
}

// observe asks and fails the test when it can't.
func (s *directorySuite) observe(t *testing.T, q providers.DirectoryQuery) providers.DirectoryFacts {
	t.Helper()
	facts, err := s.Directory.Observe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// reach applies a change until is says that it is reached. Everything but NotYet ends it. Then
// the change is applied once more, which must write nothing.
func (s *directorySuite) reach(t *testing.T, kind string, q providers.DirectoryQuery, is func(providers.DirectoryFacts) bool) {
	t.Helper()
	change := providers.DirectoryChange{Kind: kind, Of: q}
	reached := false
	for try := 0; ; try++ {
		err := s.Directory.Apply(t.Context(), change)
		if err != nil && providers.ReasonOf(err) != providers.NotYet {
			t.Fatalf("%s: %v", kind, err)
		}
		facts := s.observe(t, q)
		if reached = err == nil && is(facts); reached {
			break
		}
		if try == 60 {
			t.Fatalf("%s isn't reached: %v, %+v", kind, err, facts)
		}
		s.Wait()
	}
	before := s.Writes()
	if err := s.Directory.Apply(t.Context(), change); err != nil {
		t.Errorf("%s once more: %v", kind, err)
	}
	if n := s.Writes() - before; n > 0 {
		t.Errorf("%s once more: %d writes, and nothing is left to do", kind, n)
	}
	if !is(s.observe(t, q)) {
		t.Errorf("%s once more: it isn't reached any longer", kind)
	}
}

func (s *directorySuite) nothing(t *testing.T) {
	before := s.Writes()
	facts := s.observe(t, s.whole())
	if s.Writes() != before {
		t.Error("observing writes")
	}
	for _, m := range facts.Mailboxes {
		if m.Exists || m.Host != s.Host {
			t.Errorf("%+v", m)
		}
	}
	if len(facts.Mailboxes) != 3 {
		t.Errorf("asked about 3 mailboxes, answered for %d", len(facts.Mailboxes))
	}
	for _, a := range facts.Addresses {
		if a.Exists {
			t.Errorf("%+v", a)
		}
	}
	if len(facts.Directory.Domains) > 0 || len(facts.Directory.Licenses) == 0 {
		t.Errorf("%+v", facts.Directory)
	}
}

func (s *directorySuite) check(t *testing.T) {
	before := s.Writes()
	for _, f := range s.Directory.Check(t.Context(), []string{"account", "shared", "access", "application", "alias", "list", "domain", "domain/verify", "domain/keys"}) {
		if !f.OK || f.Check == "" || f.Subject == "" || f.Code == "" {
			t.Errorf("%+v", f)
		}
	}
	if s.Writes() != before {
		t.Error("checking writes")
	}
}

func (s *directorySuite) domain(t *testing.T) {
	q := providers.DirectoryQuery{Domains: []string{s.Domain}}
	seen := func(is func(inventory.DirectoryDomain) bool) func(providers.DirectoryFacts) bool {
		return func(f providers.DirectoryFacts) bool {
			d, ok := f.Directory.Domain(s.Domain)
			return ok && is(d)
		}
	}
	s.reach(t, "domain", q, seen(func(d inventory.DirectoryDomain) bool { return !d.Verified && d.Verification != "" }))
	s.reach(t, "domain/verify", q, seen(func(d inventory.DirectoryDomain) bool {
		return d.Verified && d.MX != "" && strings.HasPrefix(d.SPF, "v=spf1 ") && d.Autodiscover != ""
	}))
	s.reach(t, "domain/keys", q, seen(func(d inventory.DirectoryDomain) bool { return len(d.DKIM) > 0 && !d.Signing }))
	s.reach(t, "domain/dkim", q, seen(func(d inventory.DirectoryDomain) bool { return d.Signing }))
}

func (s *directorySuite) application(t *testing.T) {
	s.reach(t, "application", providers.DirectoryQuery{}, func(f providers.DirectoryFacts) bool { return f.Directory.Application })
}

// only is the one mailbox of facts, when it is ready.
func only(f providers.DirectoryFacts) (inventory.Mailbox, bool) {
	if len(f.Mailboxes) != 1 || f.Pending[f.Mailboxes[0].Address] != "" {
		return inventory.Mailbox{}, false
	}
	return f.Mailboxes[0], f.Mailboxes[0].Exists
}

func (s *directorySuite) account(t *testing.T) {
	for _, m := range []plan.Mailbox{s.anna, s.jens} {
		s.reach(t, "account", providers.DirectoryQuery{Mailboxes: []plan.Mailbox{m}}, func(f providers.DirectoryFacts) bool {
			box, ok := only(f)
			return ok && box.Kind == plan.UserMailbox && box.DisplayName == m.DisplayName && box.UsageLocation == "DE" && slices.Contains(box.Licenses, s.License)
		})
	}
	if s.SignIn == nil {
		return
	}
	may, first := s.SignIn(s.anna.Target)
	_, second := s.SignIn(s.jens.Target)
	if !may || len(first) < 12 || first == second {
		t.Error("new users can't sign in, or by a weak or a common password")
	}
}

// change: what the configuration doesn't name stays.
func (s *directorySuite) change(t *testing.T) {
	m := s.anna
	m.DisplayName, m.UsageLocation = "Anna W.", ""
	s.reach(t, "account", providers.DirectoryQuery{Mailboxes: []plan.Mailbox{m}}, func(f providers.DirectoryFacts) bool {
		box, ok := only(f)
		return ok && box.DisplayName == "Anna W." && box.UsageLocation == "DE"
	})
	s.anna.DisplayName = "Anna W."
}

func (s *directorySuite) shared(t *testing.T) {
	s.reach(t, "shared", providers.DirectoryQuery{Mailboxes: []plan.Mailbox{s.info}}, func(f providers.DirectoryFacts) bool {
		box, ok := only(f)
		return ok && box.Kind == plan.SharedMailbox && box.DisplayName == "Info" && len(box.FullAccess) == 2 && slices.Equal(box.SendAs, s.info.SendAs)
	})
	if s.SignIn == nil {
		return
	}
	if may, _ := s.SignIn(s.info.Target); may {
		t.Error("somebody may sign in as the shared mailbox")
	}
}

func (s *directorySuite) access(t *testing.T) {
	for _, m := range []plan.Mailbox{s.anna, s.info} {
		s.reach(t, "access", providers.DirectoryQuery{Mailboxes: []plan.Mailbox{m}, Access: true}, func(f providers.DirectoryFacts) bool {
			box, ok := only(f)
			return ok && box.IMAP && box.Application
		})
	}
}

func sole(f providers.DirectoryFacts) inventory.Address {
	if len(f.Addresses) != 1 {
		return inventory.Address{}
	}
	return f.Addresses[0]
}

func (s *directorySuite) alias(t *testing.T) {
	s.reach(t, "alias", providers.DirectoryQuery{Aliases: []plan.Alias{s.sales}}, func(f providers.DirectoryFacts) bool {
		a := sole(f)
		return a.Exists && a.Kind == "alias" && slices.Equal(a.Deliver, []string{s.sales.Deliver})
	})
}

func (s *directorySuite) list(t *testing.T) {
	q := providers.DirectoryQuery{Lists: []plan.List{s.team}}
	all := func(f providers.DirectoryFacts) bool {
		a := sole(f)
		return a.Exists && a.Kind == "list" && a.External && slices.Contains(a.Deliver, s.anna.Target) && slices.Contains(a.Deliver, s.jens.Target)
	}
	s.reach(t, "list", q, all)
	closed := s.team
	closed.External = false
	s.reach(t, "list", providers.DirectoryQuery{Lists: []plan.List{closed}}, func(f providers.DirectoryFacts) bool { return !sole(f).External })
	s.reach(t, "list", q, all)
	if s.Member == nil {
		return
	}
	s.Add(s.at("other"))
	s.Member(s.team.Address, s.at("other"))
	s.reach(t, "list", q, func(f providers.DirectoryFacts) bool {
		return all(f) && slices.Contains(sole(f).Deliver, s.at("other"))
	})
}

func (s *directorySuite) forwarder(t *testing.T) {
	s.reach(t, "forwarder", providers.DirectoryQuery{Forwarders: []plan.Forwarder{s.bills}}, func(f providers.DirectoryFacts) bool {
		a := sole(f)
		return a.Exists && a.Kind == "forwarder" && slices.Equal(slices.Sorted(slices.Values(a.Deliver)), s.bills.Deliver)
	})
}

func (s *directorySuite) catchAll(t *testing.T) {
	s.reach(t, "catchall", providers.DirectoryQuery{Domains: []string{s.Domain}, Mailboxes: []plan.Mailbox{s.catch}}, func(f providers.DirectoryFacts) bool {
		d, _ := f.Directory.Domain(s.Domain)
		return d.CatchAll == s.catch.Target
	})
}

// taken: nobody loses an address.
func (s *directorySuite) taken(t *testing.T) {
	s.Add(s.at("kerstin"))
	before := s.Writes()
	for name, c := range map[string]providers.DirectoryChange{
		"another one's alias":   {Kind: "alias", Of: providers.DirectoryQuery{Aliases: []plan.Alias{{Address: s.sales.Address, Deliver: s.jens.Target, On: s.Host}}}},
		"a mailbox's address":   {Kind: "alias", Of: providers.DirectoryQuery{Aliases: []plan.Alias{{Address: s.at("kerstin"), Deliver: s.jens.Target, On: s.Host}}}},
		"a shared one at alias": {Kind: "shared", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{{Kind: plan.SharedMailbox, Target: s.sales.Address, On: s.Host}}}},
		"a user at an alias":    {Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{{Kind: plan.UserMailbox, Target: s.sales.Address, On: s.Host, DisplayName: "X"}}}},
	} {
		if err := s.Directory.Apply(t.Context(), c); providers.ReasonOf(err) != providers.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.Writes() - before; n > 0 {
		t.Errorf("%d writes for what can't be had", n)
	}
	q := providers.DirectoryQuery{Aliases: []plan.Alias{s.sales}}
	if a := sole(s.observe(t, q)); !slices.Equal(a.Deliver, []string{s.anna.Target}) {
		t.Errorf("the alias went to %v", a.Deliver)
	}
	// At plan time it is seen whose it is.
	f := s.observe(t, providers.DirectoryQuery{Mailboxes: []plan.Mailbox{{Kind: plan.UserMailbox, Target: s.sales.Address, On: s.Host}}})
	if len(f.Mailboxes) != 1 || f.Mailboxes[0].Exists || len(f.Addresses) != 1 || !slices.Equal(f.Addresses[0].Deliver, []string{s.anna.Target}) {
		t.Errorf("%+v", f)
	}
}

// everything: asked at once and one by one, the answers are the same.
func (s *directorySuite) everything(t *testing.T) {
	for range 3 {
		s.Wait()
	}
	q := s.whole()
	many := s.observe(t, q)
	if len(many.Pending) > 0 {
		t.Errorf("still pending: %v", many.Pending)
	}
	for _, m := range q.Mailboxes {
		one := s.observe(t, providers.DirectoryQuery{Mailboxes: []plan.Mailbox{m}}).Mailboxes[0]
		i := slices.IndexFunc(many.Mailboxes, func(b inventory.Mailbox) bool { return b.Address == m.Target })
		if i < 0 || many.Mailboxes[i].DisplayName != one.DisplayName || many.Mailboxes[i].Kind != one.Kind || !slices.Equal(many.Mailboxes[i].FullAccess, one.FullAccess) {
			t.Errorf("%s: by itself %+v", m.Target, one)
		}
	}
	for _, a := range many.Addresses {
		if !a.Exists || a.Kind == "" || len(a.Deliver) == 0 {
			t.Errorf("%+v", a)
		}
	}
	if d, ok := many.Directory.Domain(s.Domain); !ok || !d.Verified || !d.Signing || d.CatchAll != s.catch.Target || !many.Directory.Application {
		t.Errorf("%+v", many.Directory)
	}
}

// Moment is how long a Wait is where time can be moved.
const Moment = 2 * time.Second
