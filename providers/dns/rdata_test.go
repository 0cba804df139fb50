package dns

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/faults"
)

func TestName(t *testing.T) {
	for _, c := range []struct{ in, want, shown string }{
		{"acme.example", "acme.example.", "acme.example"},
		{"ACME.Example.", "acme.example.", "acme.example"},
		{" acme.example ", "acme.example.", "acme.example"},
		{"_dmarc.acme.example", "_dmarc.acme.example.", "_dmarc.acme.example"},
		{"müller.example", "xn--mller-kva.example.", "müller.example (xn--mller-kva.example)"},
		{"MÜLLER.example", "xn--mller-kva.example.", "müller.example (xn--mller-kva.example)"},
		{"straße.example", "xn--strae-oqa.example.", "straße.example (xn--strae-oqa.example)"},
		{"_dmarc.müller.example", "_dmarc.xn--mller-kva.example.", "_dmarc.müller.example (_dmarc.xn--mller-kva.example)"},
		{"例え。jp", "xn--r8jz45g.jp.", "例え.jp (xn--r8jz45g.jp)"},
		{"xn--mller-kva.example", "xn--mller-kva.example.", "müller.example (xn--mller-kva.example)"},
		{"*.acme.example", "*.acme.example.", "*.acme.example"},
		{".", ".", "."},
	} {
		got, err := Name(c.in)
		if err != nil || got != c.want || display(got) != c.shown {
			t.Errorf("Name(%q) = %q (%q), %v; want %q (%q)", c.in, got, display(got), err, c.want, c.shown)
		}
		if again, err := Name(got); err != nil || again != got {
			t.Errorf("Name(%q) = %q, %v; want itself", got, again, err)
		}
	}
	for _, bad := range []string{
		"", " ", "a..b", ".a", strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefg.", 40), "a b.example",
		"a\nb.example", "a\" 300 IN A 192.0.2.1", "a;b.example", "$ORIGIN.example", "a\u202eb.example", "ü\x00.example",
	} {
		if got, err := Name(bad); err == nil {
			t.Errorf("Name(%q) = %q, want an error", bad, got)
		}
	}
}

func TestRelative(t *testing.T) {
	for _, c := range []struct{ name, zone, want string }{
		{"acme.example.", "acme.example.", "@"},
		{"a.b.acme.example.", "acme.example.", "a.b"},
		{"xacme.example.", "acme.example.", "xacme.example."},
		{"example.", ".", "example"},
	} {
		if got := relative(c.name, c.zone); got != c.want {
			t.Errorf("relative(%q, %q) = %q, want %q", c.name, c.zone, got, c.want)
		}
	}
}

func TestCanonicalAndDisplay(t *testing.T) {
	long := strings.Repeat("k", 300)
	for _, c := range []struct{ typ, in, want, shown string }{
		{"MX", "10 MX.Example", "10 mx.example.", "10 mx.example"},
		{"MX", " 010   mx.example. ", "10 mx.example.", "10 mx.example"},
		{"MX", "0 .", "0 .", "0 ."},
		{"CNAME", "Autodiscover.Outlook.com", "autodiscover.outlook.com.", "autodiscover.outlook.com"},
		{"SRV", "0 1 443 mail.example", "0 1 443 mail.example.", "0 1 443 mail.example"},
		{"A", "192.0.2.1", "192.0.2.1", "192.0.2.1"},
		{"AAAA", "2001:0DB8:0:0::1", "2001:db8::1", "2001:db8::1"},
		{"TXT", "v=spf1 mx -all", `"v=spf1 mx -all"`, "v=spf1 mx -all"},
		{"TXT", `"v=spf1 " "mx -all"`, `"v=spf1 mx -all"`, "v=spf1 mx -all"},
		{"TXT", `say "hi"`, `"say \"hi\""`, `say "hi"`},
		{"TXT", `a\b`, `"a\\b"`, `a\b`},
		{"TXT", long, `"` + long[:255] + `" "` + long[255:] + `"`, long},
		{"TXT", "ü", `"\195\188"`, `"\195\188"`},
		{"TXT", "", `""`, ""},
		{"CAA", "0 ISSUE ca.example", `0 issue "ca.example"`, `0 issue "ca.example"`},
		{"TLSA", "3 1 1  " + strings.Repeat("AB", 32), "3 1 1 " + strings.Repeat("ab", 32), "3 1 1 " + strings.Repeat("ab", 32)},
		{"TYPE65400", `\# 2 ABCD`, `\# 2 abcd`, `\# 2 abcd`},
	} {
		got, err := Canonical(c.typ, c.in)
		if err != nil || got != c.want || Display(c.typ, got) != c.shown {
			t.Errorf("Canonical(%s, %q) = %q (%q), %v\nwant %q (%q)", c.typ, c.in, got, Display(c.typ, got), err, c.want, c.shown)
		}
		if again, err := Canonical(c.typ, got); err != nil || again != got {
			t.Errorf("Canonical(%s, %q) = %q, %v; want itself", c.typ, got, again, err)
		}
	}
	for _, bad := range []struct{ typ, in string }{
		{"MX", "mx.example"}, {"MX", "70000 mx.example"}, {"MX", "10 mx"}, {"A", "2001:db8::1"}, {"A", "192.0.2.1\n@ A 192.0.2.2"},
		{"BOGUS", "x"}, {"CNAME", "a b"}, {"TLSA", "3 1 1 xyz"}, {"TXT", `"open`}, {"TXT", strings.Repeat("x", 70000)},
	} {
		if got, err := Canonical(bad.typ, bad.in); err == nil {
			t.Errorf("Canonical(%s, %.40q) = %.40q, want an error", bad.typ, bad.in, got)
		}
	}
}

// TestForeignRecords: what nobody would write is still read, and never stops anything.
func TestForeignRecords(t *testing.T) {
	for _, c := range []struct {
		rr   dns.RR
		want string
	}{
		{&dns.CNAME{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: `Odd\ Name\@x.example.`}, `Odd\ Name\@x.example.`},
		{&dns.MX{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeMX, Class: dns.ClassINET}, Mx: "Single."}, "0 single."},
		{&dns.RFC3597{Hdr: dns.RR_Header{Name: "a.", Rrtype: 65400, Class: dns.ClassINET}, Rdata: "abcd"}, `\# 2 abcd`},
	} {
		if got := dataOf(c.rr); got != c.want {
			t.Errorf("dataOf(%v) = %q, want %q", c.rr, got, c.want)
		}
	}
}

// TestDifferentTTLs: of TTLs that differ inside a set the largest counts.
func TestDifferentTTLs(t *testing.T) {
	var rrs []dns.RR
	for _, line := range []string{"a. 300 IN A 192.0.2.1", "a. 3600 IN A 192.0.2.2", "A. 60 IN A 192.0.2.3", "b. 9999 IN A 192.0.2.4", "a. 9999 IN TXT x"} {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	want := plan.RRset{Name: "a.", Type: "A", TTL: 3600, Data: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}
	if got := setOf("a.", dns.TypeA, rrs); !got.Equal(want) {
		t.Errorf("got %q, want %q", got.Lines(), want.Lines())
	}
}

// FuzzCanonical: whatever a person writes becomes one form or an error; the form
// is stable, and what goes over the wire comes back as it.
func FuzzCanonical(f *testing.F) {
	for _, typ := range []string{"TXT", "MX", "CAA", "SRV", "CNAME", "TLSA", "HINFO", "TYPE65400", "HTTPS"} {
		for _, v := range []string{"v=spf1 -all", `"a" "b"`, "10 mx.example.", `0 issue "x"`, `a\"b`, "\x00\xff", `\000`, `"\065`, `1 . alpn="h2,h3"`} {
			f.Add(typ, v)
		}
	}
	faults.Fuzz(f, func(t *testing.T, typ, value string) {
		data, err := Canonical(typ, value)
		if err != nil {
			return
		}
		again, err := Canonical(typ, data)
		if err != nil || again != data {
			t.Fatalf("Canonical(%s, %q) = %q, then %q, %v", typ, value, data, again, err)
		}
		rr, err := parseRR("a.example.", typ, 300, data)
		if err != nil {
			t.Fatalf("%s %q: %v", typ, data, err)
		}
		wire := make([]byte, dns.MaxMsgSize)
		end, err := dns.PackRR(rr, wire, 0, nil, false)
		if err != nil {
			t.Fatalf("%s %q: %v", typ, data, err)
		}
		back, _, err := dns.UnpackRR(wire[:end], 0)
		if err != nil || dataOf(back) != data {
			t.Fatalf("%s %q comes back as %v, %v", typ, data, back, err)
		}
	})
}
