package dns

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// Canonical turns what a person writes as a record's value into the form of
// plan.RRset.Data. For the types that plan.CanonicalRdata knows it is that
// form; all others are parsed and printed again, so that upper-case digits or
// odd blanks make no difference. Doing it twice changes nothing.
func Canonical(typ, value string) (string, error) {
	if typ != "TXT" && typ != "SPF" && strings.ContainsAny(value, "\r\n") {
		return "", fmt.Errorf("%q is no %s record: a line break can't stand there", value, typ)
	}
	data, err := plan.CanonicalRdata(typ, value)
	if err != nil {
		return "", err
	}
	rr, err := parseRR(".", typ, 0, data)
	if err != nil {
		return "", err
	}
	return plan.CanonicalRdata(typ, presentation(rr))
}

// Display turns data into what a person types: TXT as plain text, host names
// without the final dot. What holds unprintable octets stays in presentation
// form.
func Display(typ, data string) string {
	switch typ {
	case "TXT", "SPF":
		text, err := plan.TXTText(data)
		if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return data
		}
		return text
	case "MX", "SRV", "CNAME", "NS", "DNAME", "PTR":
		if strings.HasSuffix(data, " .") || data == "." {
			return data
		}
		return strings.TrimSuffix(data, ".")
	}
	return data
}

// typeOf reads "MX" or "TYPE1234" (RFC 3597 §5).
func typeOf(typ string) (uint16, error) {
	if t, ok := dns.StringToType[typ]; ok {
		return t, nil
	}
	if digits, ok := strings.CutPrefix(typ, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("%q is no type of DNS record", typ)
}

// parseRR reads one record from its presentation form.
func parseRR(name, typ string, ttl uint32, data string) (dns.RR, error) {
	t, err := typeOf(typ)
	if err != nil {
		return nil, err
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, ttl, typ, data))
	if err != nil || rr == nil || rr.Header().Rrtype != t {
		return nil, fmt.Errorf("%q is no %s record", data, typ)
	}
	// Over the wire and back: what can't be sent is found here and not half-way into an
	// update, and upper-case digits come back as servers will show them.
	wire := make([]byte, dns.MaxMsgSize)
	end, err := dns.PackRR(rr, wire, 0, nil, false)
	if err == nil {
		rr, _, err = dns.UnpackRR(wire[:end], 0)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no %s record: %w", data, typ, err)
	}
	return rr, nil
}

// recordsOf are the records of a set.
func recordsOf(set plan.RRset) ([]dns.RR, error) {
	rrs := make([]dns.RR, 0, len(set.Data))
	for _, data := range set.Data {
		rr, err := parseRR(set.Name, set.Type, set.TTL, data)
		if err != nil {
			return nil, err
		}
		rrs = append(rrs, rr)
	}
	return rrs, nil
}

// dataOf is a record's data in canonical form. Records of other people may hold
// what nobody would write (a host name with a space in it): those keep
// their presentation form.
func dataOf(rr dns.RR) string {
	data := presentation(rr)
	if canonical, err := plan.CanonicalRdata(dns.Type(rr.Header().Rrtype).String(), data); err == nil {
		return canonical
	}
	return strings.Join(strings.Fields(data), " ")
}

// presentation is a record's data as the library prints it.
func presentation(rr dns.RR) string {
	data := strings.TrimPrefix(rr.String(), rr.Header().String())
	if unknown, ok := rr.(*dns.RFC3597); ok {
		data = fmt.Sprintf(`\# %d %s`, len(unknown.Rdata)/2, unknown.Rdata) // its String has a header of its own
	}
	return data
}

// setOf collects the records of name and typ among rrs. Where their TTLs
// differ, which RFC 2181 §5.2 forbids, the largest counts: whoever waits for
// a TTL to pass waits long enough, and whoever wants one TTL sees that it isn't so.
func setOf(name string, typ uint16, rrs []dns.RR) plan.RRset {
	set := plan.RRset{Name: name, Type: dns.Type(typ).String()}
	for _, rr := range ofName(name, typ, rrs) {
		set.TTL = max(set.TTL, rr.Header().Ttl)
		set.Data = append(set.Data, dataOf(rr))
	}
	slices.Sort(set.Data)
	set.Data = slices.Compact(set.Data)
	return set
}

// cutAt are the name servers of a zone that is delegated at exactly name, as the zone
// around it names them: it refers and doesn't answer (RFC 1034 §4.3.2).
func cutAt(name string, typ uint16, r *dns.Msg) []dns.RR {
	if typ != dns.TypeNS || r.Authoritative || r.Rcode != dns.RcodeSuccess || len(r.Answer) > 0 {
		return nil
	}
	return ofName(name, dns.TypeNS, r.Ns)
}

// ofName are the records of name and typ among rrs.
func ofName(name string, typ uint16, rrs []dns.RR) []dns.RR {
	var list []dns.RR
	for _, rr := range rrs {
		if h := rr.Header(); h.Rrtype == typ && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name {
			list = append(list, rr)
		}
	}
	return list
}

// setsOf groups rrs into sets, sorted by name and type.
func setsOf(rrs []dns.RR) []plan.RRset {
	type key struct {
		name string
		typ  uint16
	}
	groups := map[key][]dns.RR{}
	for _, rr := range rrs {
		k := key{dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype}
		groups[k] = append(groups[k], rr)
	}
	sets := make([]plan.RRset, 0, len(groups))
	for k, list := range groups {
		sets = append(sets, setOf(k.name, k.typ, list))
	}
	slices.SortFunc(sets, func(a, b plan.RRset) int {
		return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type)
	})
	return sets
}
