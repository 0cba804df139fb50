package dns

import (
	"slices"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
)

func TestInstructions(t *testing.T) {
	set := func(name, typ string, ttl uint32, data ...string) plan.RRset {
		return plan.RRset{Name: name + "acme.example.", Type: typ, TTL: ttl, Data: data}
	}
	none := func(name, typ string) plan.RRset { return set(name, typ, 0) }
	for _, c := range []struct {
		name    string
		changes []plan.RRsetChange
		want    []string
	}{
		{"MX: no moment without one", []plan.RRsetChange{{Old: set("", "MX", 300, "10 mx00.old.example.", "10 mx01.old.example."), New: set("", "MX", 300, "0 new.example.")}}, []string{
			"change the MX record: host name @, mail server mx00.old.example, priority 10; it becomes: mail server new.example, priority 0, TTL 300",
			"delete the MX record: host name @, mail server mx01.old.example, priority 10",
		}},
		{"TXT beside others", []plan.RRsetChange{{Old: set("", "TXT", 3600, `"keep"`, `"v=spf1 a -all"`), New: set("", "TXT", 3600, `"keep"`, `"v=spf1 mx -all"`)}}, []string{
			"change the TXT record: host name @, value (one line, without quotes): v=spf1 a -all; it becomes: value (one line, without quotes): v=spf1 mx -all, TTL 3600",
		}},
		{"TTL of each record", []plan.RRsetChange{{Old: set("", "MX", 3600, "10 a.example.", "20 b.example."), New: set("", "MX", 300, "10 a.example.", "20 b.example.")}}, []string{
			"set the TTL of the MX record to 300 (now 3600): host name @, mail server a.example, priority 10",
			"set the TTL of the MX record to 300 (now 3600): host name @, mail server b.example, priority 20",
		}},
		{"a CNAME needs room, whatever the order", []plan.RRsetChange{
			{Old: none("autodiscover.", "CNAME"), New: set("autodiscover.", "CNAME", 3600, "autodiscover.outlook.com.")},
			{Old: set("autodiscover.", "A", 3600, "192.0.2.1"), New: none("autodiscover.", "A")},
		}, []string{
			"delete the A record: host name autodiscover, points to 192.0.2.1",
			"add a CNAME record: host name autodiscover, points to autodiscover.outlook.com, TTL 3600",
		}},
		{"SRV and CAA", []plan.RRsetChange{
			{Old: none("_autodiscover._tcp.", "SRV"), New: set("_autodiscover._tcp.", "SRV", 60, "0 5 443 m.example.")},
			{Old: none("", "CAA"), New: set("", "CAA", 60, `0 issue "ca.example"`)},
		}, []string{
			"add an SRV record: host name _autodiscover._tcp, target m.example, port 443, priority 0, weight 5, TTL 60",
			"add a CAA record: host name @, flags 0, tag issue, value ca.example, TTL 60",
		}},
		{"nothing", []plan.RRsetChange{{Old: set("", "A", 60, "192.0.2.1"), New: set("", "A", 60, "192.0.2.1")}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := instructions("acme.example.", c.changes); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
