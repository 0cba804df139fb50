package dns

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/faults"
)

// FuzzChanges: changes that are let through are within the zone, touch nothing that its server maintains, each set once, come out the same when
// they are checked again, and can be sent in one message, which says exactly that; what people are told to enter is one line a record.
//
// changes has lines of NAME, TYPE, OLD and NEW data with tabs between them, and | between the data of a set.
func FuzzChanges(f *testing.F) {
	f.Add("acme.example.\tMX\t10 mx00.ionos.de.\t0 acme-example.mail.protection.outlook.com.\nacme.example.\tTXT\t\"v=spf1 -all\"|x\tv=spf1 mx -all|x", "acme.example.", uint32(300))
	f.Add("_dmarc.acme.example.\tCNAME\t\td.a.example.\nwww.acme.example.\tA\t192.0.2.1|192.0.2.2\t", "acme.example.", uint32(0))
	f.Add("x.elsewhere.example.\tA\t\t192.0.2.1\nxacme.example.\tA\t\t192.0.2.1", "acme.example.", uint32(1))
	f.Add("acme.example.\tSOA\t\ta. b. 1 2 3 4 5\nacme.example.\tNS\t\tns.a.\nacme.example.\tDNSKEY\t\t257 3 13 AAAA", "acme.example.", uint32(1))
	f.Add("a.acme.example.\tTXT\t\t\"a\r\nb\\000\"\nA.ACME.example.\tTXT\t\tx", "acme.example.", uint32(1<<31))
	f.Add("a.acme.example.\tCNAME\t\tb.|c.\na\\.b.acme.example.\tTYPE65400\t\t\\# 2 AbCd", "acme.example.", uint32(5))
	faults.Fuzz(f, func(t *testing.T, text, zone string, ttl uint32) {
		zone, err := Name(zone)
		if err != nil {
			return
		}
		var wanted []plan.RRsetChange
		for line := range strings.SplitSeq(text, "\n") {
			w := strings.Split(line, "\t")
			if len(w) != 4 {
				continue
			}
			set := func(data string) plan.RRset {
				s := plan.RRset{Name: w[0], Type: w[1]}
				if data != "" {
					s.TTL, s.Data = ttl, strings.Split(data, "|")
				}
				return s
			}
			wanted = append(wanted, plan.RRsetChange{Old: set(w[2]), New: set(w[3])})
		}
		changes, err := Changes(zone, wanted)
		if err != nil {
			return
		}
		if len(changes) != len(wanted) {
			t.Fatalf("%d of %d changes", len(changes), len(wanted))
		}
		again, err := Changes(zone, changes)
		if err != nil || !slices.EqualFunc(again, changes, func(a, b plan.RRsetChange) bool {
			return a.Old.Equal(b.Old) && a.New.Equal(b.New) && a.New.Name == b.New.Name
		}) {
			t.Fatalf("checked again %v is %v, %v", changes, again, err)
		}
		m := new(dns.Msg)
		m.SetUpdate(zone)
		sets := map[string]bool{}
		for _, c := range changes {
			if set := c.New.Name + " " + c.New.Type; sets[set] || !dns.IsSubDomain(zone, c.New.Name) || c.Old.Name != c.New.Name || c.Old.Type != c.New.Type ||
				slices.Contains([]string{"SOA", "RRSIG", "NSEC", "NSEC3", "ANY", "AXFR"}, c.New.Type) || c.New.Type == "NS" && c.New.Name == zone {
				t.Fatalf("%s let %+v through", zone, c)
			}
			sets[c.New.Name+" "+c.New.Type] = true
			rrs, err := recordsOf(c.New)
			if err != nil {
				t.Fatal(err)
			}
			m.Insert(rrs)
		}
		if wire, err := m.Pack(); err == nil { // else it is beyond 64 KiB
			back := new(dns.Msg)
			if err := back.Unpack(wire); err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				typ, _ := typeOf(c.New.Type)
				if got := setOf(c.New.Name, typ, back.Ns); !got.Equal(c.New) {
					t.Fatalf("%q arrives as %q", c.New.Lines(), got.Lines())
				}
			}
		} else if len(text) < 30_000 {
			t.Fatalf("it can't be sent: %v", err)
		}
		for _, line := range Instructions(zone, changes) {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("an instruction of several lines: %q", line)
			}
		}
	})
}
