package planner_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
)

// world is a configuration and what might be observed of it, drawn at random.
// Everything that a planner has to tell apart may be there, half there or missing.
func drawWorld(t *rapid.T, tb testing.TB) (*plan.Migration, *inventory.Inventory) {
	m, inv := migration(tb), observed()
	on := "imap.new"
	if rapid.Bool().Draw(t, "tenant") {
		m, inv = tenant(tb)
		on = "microsoft365"
		inv.Directories[0].Licenses[0].Free = rapid.IntRange(0, 9).Draw(t, "free")
		d := &inv.Directories[0].Domains[0]
		d.Verified, d.Signing = rapid.Bool().Draw(t, "verified"), rapid.Bool().Draw(t, "signing")
		if !d.Verified {
			d.Verification = "MS=ms1"
		}
		if rapid.Bool().Draw(t, "exchange by hand") {
			m.Targets[0].Settings["exchange"] = "by_hand"
		}
	}
	if rapid.Bool().Draw(t, "zone by hand") {
		m.Zones[0].Kind = "by_hand"
	}
	m.Domains[0].SPF = rapid.SampledFrom([]string{"replace", "overlap"}).Draw(t, "spf")
	m.Domains[0].TTLDuring = time.Duration(rapid.SampledFrom([]int{1, 60, 300, 3600}).Draw(t, "during")) * time.Second
	m.Domains[0].TTLRestore = time.Duration(rapid.SampledFrom([]int{300, 3600, 86400}).Draw(t, "restore")) * time.Second

	m.Mailboxes, inv.Sources, inv.Targets = nil, nil, nil
	for i := range rapid.IntRange(0, 5).Draw(t, "mailboxes") {
		a := fmt.Sprintf("u%d@lab.example", i)
		box := plan.Mailbox{Block: "user", Kind: rapid.SampledFrom([]plan.MailboxKind{plan.UserMailbox, plan.SharedMailbox, plan.CatchAllMailbox}).Draw(t, "kind"),
			Source: a, Target: a, From: "imap.old", On: on, Deletes: "keep", DisplayName: rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "name")}
		if box.Kind != plan.SharedMailbox {
			box.License, box.UsageLocation = "basic", "DE"
		}
		m.Mailboxes = append(m.Mailboxes, box)
		if rapid.IntRange(0, 4).Draw(t, "read") > 0 {
			inv.Sources = append(inv.Sources, inventory.Mailbox{Host: "imap.old", Address: a, Exists: true, Closed: rapid.IntRange(0, 5).Draw(t, "closed") == 0,
				Folders: []inventory.Folder{{Name: "INBOX", UIDValidity: 1}, {Name: "Sent", UIDValidity: 2}, {Name: "sent", UIDValidity: 3}}[:rapid.IntRange(0, 3).Draw(t, "folders")]})
		}
		if rapid.Bool().Draw(t, "asked") {
			there := inventory.Mailbox{Host: on, Address: a, Exists: rapid.Bool().Draw(t, "exists")}
			if on == "microsoft365" && there.Exists {
				there.Account = inventory.Account{Kind: plan.UserMailbox, DisplayName: rapid.SampledFrom([]string{"", "A", "C"}).Draw(t, "seen name")}
				if box.Kind == plan.SharedMailbox {
					there.Kind = plan.SharedMailbox
				}
				if rapid.Bool().Draw(t, "licensed") {
					there.Licenses = []string{"basic", "other"}
				}
			}
			inv.Targets = append(inv.Targets, there)
		}
	}
	m.Aliases, m.Lists, m.Forwarders = m.Aliases[:0], m.Lists[:0], m.Forwarders[:0]
	if len(m.Mailboxes) > 0 {
		first := m.Mailboxes[0].Target
		m.Aliases = append(m.Aliases, plan.Alias{Address: "sales@lab.example", Deliver: first, On: on})
		m.Lists = append(m.Lists, plan.List{Address: "team@lab.example", Members: []string{first, "x@elsewhere.example"}, On: on})
		m.Forwarders = append(m.Forwarders, plan.Forwarder{Address: "bills@lab.example", Deliver: []string{"x@elsewhere.example"}, On: on})
	}
	// Any of the zone's sets may be missing or have another TTL or further records.
	var sets []inventory.RRset
	for _, s := range inv.Domains[0].Sets {
		if rapid.IntRange(0, 3).Draw(t, "missing "+s.Name+s.Type) == 0 {
			continue
		}
		s.TTL = rapid.SampledFrom([]uint32{1, 60, 300, 3600, 86400}).Draw(t, "ttl")
		s.OldTTL = max(s.TTL, rapid.SampledFrom([]uint32{0, 3600}).Draw(t, "old"))
		if s.Type == "TXT" && rapid.Bool().Draw(t, "more") {
			s.Data = append(slices.Clone(s.Data), `"other=1"`)
		}
		sets = append(sets, s)
	}
	inv.Domains[0].Sets = sets
	inv.Domains[0].Complete = rapid.Bool().Draw(t, "complete")
	return m, inv
}

// Whatever is wanted and observed, a plan can be written and read back, its steps
// stand behind those they wait for, every change fits what the changes before
// it leave, strings of others stay in their TXT sets, and the order of the inputs shows
// nowhere. Once all is done there is nothing to do.
func TestPlanOfAnyWorld(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m, inv := drawWorld(rt, t)
		p := make1(m, inv)
		data, err := planfile.Encode(p)
		if err != nil {
			rt.Fatal(err)
		}
		read, err := planfile.Decode(data)
		if err != nil {
			rt.Fatalf("it can't be read back: %v", err)
		}
		if again, err := planfile.Encode(read); err != nil || string(again) != string(data) {
			rt.Fatalf("it is another when it is read back: %v", err)
		}
		at := map[string]int{}
		for i, s := range p.Steps {
			if _, twice := at[s.Address]; twice {
				rt.Fatalf("%s is there twice", s.Address)
			}
			at[s.Address] = i
		}
		for i, s := range p.Steps {
			for _, a := range s.After {
				if j, ok := at[a]; !ok || j >= i {
					rt.Fatalf("%s comes after %s, which is not before it", s.Address, a)
				}
			}
			if s.Undo == "" || s.Action == plan.ByHand && len(s.Detail) == 0 {
				rt.Fatalf("%+v", s)
			}
			for _, line := range s.From {
				if strings.HasPrefix(s.Address, "dns/") && (strings.Contains(line, "other=1") || strings.Contains(line, "google-site")) && !kept(line, s.To) {
					rt.Fatalf("%s drops a string of others: %q becomes %q", s.Address, s.From, s.To)
				}
			}
		}
		for _, f := range p.Findings {
			if f.Check == "" || f.Summary == "" || f.Subject == "" || f.Severity == plan.Blocks && (f.Gate == "" || f.Remedy == "") {
				rt.Fatalf("%+v", f)
			}
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		r := rand.New(rand.NewPCG(seed, 3))
		shuffle(r, inv.Sources)
		shuffle(r, inv.Targets)
		shuffle(r, inv.Domains[0].Sets)
		config := m.Digest()
		shuffle(r, m.Mailboxes)
		p2 := make1(m, inv)
		p2.Config = config
		if got := encode(t, p2); got != string(data) {
			rt.Fatalf("the order of the inputs shows:\n%s", cmp.Diff(strings.Split(string(data), "\n"), strings.Split(got, "\n")))
		}
		end := do(t, p, inv, plan.Decommission)
		for _, s := range p.Steps {
			tell(end, m, s)
		}
		for _, b := range m.Mailboxes { // apply closes each copy, also of a mailbox that stays
			end.Close(map[string]bool{b.Source: true})
			if _, ok := end.Source(b.From, b.Source); !ok {
				end.Sources = append(end.Sources, inventory.Mailbox{Host: b.From, Address: b.Source, Exists: true, Closed: true})
			}
		}
		if left := make1(m, end); len(left.Steps) > 0 {
			rt.Fatalf("after the last step the plan still has %q: %q → %q", addresses(left), left.Steps[0].From, left.Steps[0].To)
		}
	})
}

// kept reports whether the data of a record line are among other lines.
func kept(line string, to []string) bool {
	_, data, _ := strings.Cut(line, " ")
	return slices.ContainsFunc(to, func(l string) bool { return strings.HasSuffix(l, data) })
}

// tell makes a tenant's directory what step s wants.
func tell(inv *inventory.Inventory, m *plan.Migration, s plan.Step) {
	parts := strings.Split(s.Address, "/")
	values := func(name string) (list []string) {
		for _, l := range s.To {
			if v, ok := strings.CutPrefix(l, name+": "); ok {
				list = append(list, v)
			}
		}
		return list
	}
	first := func(name string) string { return strings.Join(values(name), "") }
	switch parts[0] {
	case "domain":
		for i := range inv.Directories {
			d := &inv.Directories[i].Domains[0]
			d.Verified = d.Verified || strings.HasSuffix(s.Address, "/verify")
			d.Signing = d.Signing || strings.HasSuffix(s.Address, "/dkim")
		}
	case "account", "shared":
		i := slices.IndexFunc(inv.Targets, func(b inventory.Mailbox) bool { return b.Address == parts[1] })
		if i < 0 {
			i = len(inv.Targets)
			inv.Targets = append(inv.Targets, inventory.Mailbox{Host: m.Targets[0].Key(), Address: parts[1]})
		}
		b := &inv.Targets[i]
		b.Exists = true
		b.Kind = plan.MailboxKind(first("mailbox"))
		if n := first("display name"); n != "" {
			b.DisplayName = n
		}
		if l := first("license"); l != "" && !slices.Contains(b.Licenses, l) {
			b.Licenses = append(b.Licenses, l)
		}
		if l := first("usage location"); l != "" {
			b.UsageLocation = l
		}
	case "alias", "list", "forwarder":
		if m.Targets[0].Kind != "microsoft365" {
			return
		}
		inv.Addresses = slices.DeleteFunc(inv.Addresses, func(a inventory.Address) bool { return a.Address == parts[1] })
		inv.Addresses = append(inv.Addresses, inventory.Address{Host: "microsoft365", Address: parts[1], Exists: true, Kind: parts[0],
			Deliver: slices.Concat(values("delivers to"), values("member"), values("sends on to")), External: first("written to by") == "anybody", KeepCopy: slices.Contains(s.To, "keeps a copy")})
	}
}
