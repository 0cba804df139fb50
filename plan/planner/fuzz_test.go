package planner_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/providers/faults"
)

// FuzzZone: whatever a zone holds and a configuration wants of it, each change is planned against what is there by then, what nobody
// named stays as it is, and once all is done there is nothing to do.
//
// seen has lines "NAME TYPE TTL DATA", wanted "NAME TYPE PHASE TTL MATCH VALUE" with - for no match, ! for keep.
func FuzzZone(f *testing.F) {
	const zone = "@ MX 3600 10 mx00.old.example.\n@ MX 3600 10 mx01.old.example.\n@ TXT 7200 \"google-site-verification=abc\"\n@ TXT 7200 \"v=spf1 include:_spf.old.example ~all\"\n" +
		"autodiscover A 600 192.0.2.81\nautodiscover AAAA 300 2001:db8::81\nwww CNAME 3600 web.example.\n"
	f.Add(zone, "@ MX flip 0 - 10 mx.new.example\n@ TXT flip 0 v=spf1 v=spf1 include:_spf.new.example -all\nautodiscover CNAME flip 0 - auto.new.example\n_dmarc TXT provision 0 ! v=DMARC1; p=none\n", uint16(300), uint16(3600), true)
	f.Add(zone, "@ TXT provision 0 MS= MS=ms1\n@ TXT flip 60 v=spf1 v=spf1 -all\nwww A flip 0 - 192.0.2.9\n", uint16(60), uint16(60), false)
	f.Add("a TXT 1 \"MS=1\" \"x\"\na TXT 1 \"\"\n* A 0 192.0.2.1\n", "a TXT provision 0 ms= MS=2\na TXT flip 5 ! y\n* CNAME flip 0 - a.\n", uint16(0), uint16(0), true)
	f.Add("", "@ CNAME flip 0 - a.\n@ A provision 7 - 192.0.2.1\nX A flip 7 - 192.0.2.1\n", uint16(1), uint16(65535), false)
	faults.Fuzz(f, func(t *testing.T, seen, wanted string, during, restore uint16, overlap bool) {
		m, inv := migration(t), observed()
		d := &m.Domains[0]
		d.TTLDuring, d.TTLRestore, d.SPF = time.Duration(during)*time.Second, time.Duration(restore)*time.Second, map[bool]string{true: "overlap", false: "replace"}[overlap]
		inv.Domains[0].Sets = readZone(seen)
		d.Records = readWanted(wanted)
		before, err := inventory.Parse(inv.Encode())
		if err != nil {
			return // no zone holds this
		}
		p := make1(m, inv)
		encode(t, p)
		end := do(t, p, before, plan.Decommission) // fails where a step doesn't fit what is there
		named := func(name, typ string) bool {
			return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
				return s.Address == "dns/lab.example/"+typ+"/"+name || strings.HasPrefix(s.Address, "dns/lab.example/"+typ+"/"+name+"/")
			})
		}
		wants := func(name, typ string) (own []plan.Record, whole bool) {
			for _, r := range d.Records {
				if strings.EqualFold(r.Name, name) && r.Type == typ {
					own, whole = append(own, r), whole || r.Match == "" && !r.Keep
				}
			}
			return own, whole
		}
		for _, was := range before.Domains[0].Sets {
			name := strings.TrimSuffix(strings.TrimSuffix(was.Name, "lab.example."), ".")
			if name == "" {
				name = "@"
			}
			now := end.Domains[0].Set(was.Name, was.Type)
			own, whole := wants(name, was.Type)
			alias := slices.ContainsFunc(d.Records, func(r plan.Record) bool {
				return strings.EqualFold(r.Name, name) && (r.Type == "CNAME") != (was.Type == "CNAME")
			})
			switch {
			case len(own) == 0 && !alias:
				if named(name, was.Type) || !now.Equal(was.RRset) {
					t.Fatalf("%s %s, which nobody named, was %q and is %q", was.Name, was.Type, was.Lines(), now.Lines())
				}
			case was.Type == "TXT" && !whole && !alias:
				for _, data := range was.Data {
					text, err := plan.TXTText(data)
					mine := slices.ContainsFunc(own, func(r plan.Record) bool {
						return r.Match != "" && len(text) >= len(r.Match) && strings.EqualFold(text[:len(r.Match)], r.Match)
					})
					if err == nil && !mine && !slices.Contains(now.Data, data) {
						t.Fatalf("%s lost %s, a string of others: %q", was.Name, data, now.Data)
					}
				}
			}
		}
		for _, s := range make1(m, end).Steps {
			if strings.HasPrefix(s.Address, "dns/") {
				t.Fatalf("after the last step the plan still has %q: %q becomes %q", s.Address, s.From, s.To)
			}
		}
	})
}

// readZone reads the lines of a zone into sets in canonical form; what is no record is passed over.
func readZone(text string) (sets []inventory.RRset) {
	for line := range strings.SplitSeq(text, "\n") {
		w := strings.SplitN(line, " ", 4)
		if len(w) < 4 || len(sets) >= 20 || !slices.Contains(types, w[1]) {
			continue
		}
		ttl, err := strconv.ParseUint(w[2], 10, 31)
		data, err2 := plan.CanonicalRdata(w[1], w[3])
		if err != nil || err2 != nil || !plainName(w[0]) {
			continue
		}
		name := strings.ToLower(w[0]) + ".lab.example."
		if w[0] == "@" {
			name = "lab.example."
		}
		i := slices.IndexFunc(sets, func(s inventory.RRset) bool { return s.Name == name && s.Type == w[1] })
		switch {
		case slices.ContainsFunc(sets, func(s inventory.RRset) bool {
			return s.Name == name && (s.Type == "CNAME") != (w[1] == "CNAME")
		}), w[1] == "CNAME" && (i >= 0 || w[0] == "@"):
			// No name server publishes a CNAME beside other data.
		case i < 0:
			sets = append(sets, rrset(name, w[1], uint32(ttl), data))
		case !slices.Contains(sets[i].Data, data):
			sets[i].Data = append(sets[i].Data, data)
			slices.Sort(sets[i].Data)
		}
	}
	return sets
}

var types = []string{"A", "AAAA", "MX", "TXT", "CNAME", "SRV", "CAA"}

func plainName(name string) bool {
	return name == "@" || len(name) < 60 && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-*") == ""
}

// readWanted reads the records of a configuration as plan/config lets them through: one for each set and match.
func readWanted(text string) (records []plan.Record) {
	for line := range strings.SplitSeq(text, "\n") {
		w := strings.SplitN(line, " ", 6)
		if len(w) < 6 || len(records) >= 20 || !slices.Contains(types, w[1]) || !plainName(w[0]) {
			continue
		}
		r := plan.Record{Name: w[0], Type: w[1], At: plan.Flip, Values: strings.Split(w[5], "|")}
		if w[2] == "provision" {
			r.At = plan.Provision
		}
		ttl, err := strconv.ParseUint(w[3], 10, 31)
		if r.TTL = time.Duration(ttl) * time.Second; err != nil {
			continue
		}
		switch {
		case w[4] == "!":
			r.Keep = true
		case w[4] != "-" && r.Type == "TXT":
			r.Match = w[4]
		}
		if r.Match != "" && slices.ContainsFunc(r.Values, func(v string) bool {
			return len(v) < len(r.Match) || !strings.EqualFold(v[:len(r.Match)], r.Match)
		}) {
			continue
		}
		if strings.HasPrefix(strings.ToLower(w[5]), "v=spf1") {
			if _, err := mailrecords.ParseSPF(w[5]); err != nil {
				continue // what isn't SPF can't be brought together with the old hosts' record
			}
		}
		if !slices.ContainsFunc(records, func(o plan.Record) bool { // a set has one TTL (RFC 2181 §5.2)
			return strings.EqualFold(o.Name, r.Name) && o.Type == r.Type && (o.Match == "" || r.Match == "" || strings.EqualFold(o.Match, r.Match) || o.TTL != r.TTL)
		}) {
			records = append(records, r)
		}
	}
	return records
}
