package plan

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCanonicalRdata(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ typ, in, want string }{
		{"MX", "10 mx.Example.COM", "10 mx.example.com."},
		{"MX", " 010   mx.example.com. ", "10 mx.example.com."},
		{"MX", "0 .", "0 ."},
		{"CNAME", "Host.example", "host.example."},
		{"CNAME", "single.", "single."},
		{"SRV", "0 1 443 a.example", "0 1 443 a.example."},
		{"NS", "_x.a.example", "_x.a.example."},
		{"A", "192.0.2.1", "192.0.2.1"},
		{"AAAA", "2001:DB8:0:0::1", "2001:db8::1"},
		{"TXT", "v=spf1 -all", `"v=spf1 -all"`},
		{"TXT", `say "hi" \ there`, `"say \"hi\" \\ there"`},
		{"TXT", `"quoted" "twice"`, `"quotedtwice"`},
		{"TXT", "", `""`},
		{"TXT", "ü", `"\195\188"`},
		{"TXT", `"\195\188"`, `"\195\188"`},
		{"TXT", long, `"` + long[:255] + `" "` + long[255:] + `"`},
		{"CAA", "00 Issue ca.example", `0 issue "ca.example"`},
		{"TLSA", "3 1  1   ab", "3 1 1 ab"},
	} {
		got, err := CanonicalRdata(c.typ, c.in)
		if err != nil || got != c.want {
			t.Errorf("%s %q: got %q, %v; want %q", c.typ, c.in, got, err, c.want)
			continue
		}
		if again, err := CanonicalRdata(c.typ, got); err != nil || again != got {
			t.Errorf("%s %q is not stable: %q, %v", c.typ, got, again, err)
		}
	}
}

func TestCanonicalRdataRefuses(t *testing.T) {
	for _, c := range []struct{ typ, in, want string }{
		{"MX", "mx.example.com", "PREFERENCE HOST"},
		{"MX", "70000 mx.example.com", "0 to 65535"},
		{"MX", "10 mx", "no full host name"},
		{"CNAME", "a b.example", "one host name"},
		{"CNAME", "a..example", "1 to 63 octets"},
		{"CNAME", strings.Repeat("a", 64) + ".example", "1 to 63 octets"},
		{"CNAME", strings.Repeat("abcdefg.", 40), "253 octets"},
		{"CNAME", "bücher.example", "xn--"},
		{"A", "2001:db8::1", "IPv4"},
		{"AAAA", "192.0.2.1", "IPv6"},
		{"TXT", `"open`, "double quotes"},
		{"TXT", `"a" b`, "double quotes"},
		{"TXT", `"\999"`, "double quotes"},
		{"CAA", "0 issue", "FLAGS TAG VALUE"},
		{"A", "", "needs a value"},
	} {
		if got, err := CanonicalRdata(c.typ, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: got %q, %v; want an error with %q", c.typ, c.in, got, err, c.want)
		}
	}
}

// Any text comes back from its presentation form octet by octet.
func TestTXTRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "text"))
		if got, err := TXTText(quoteTXT(text)); err != nil || got != text {
			t.Fatalf("%q came back as %q, %v", text, got, err)
		}
	})
}
