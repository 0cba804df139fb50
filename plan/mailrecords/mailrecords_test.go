package mailrecords

import (
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/faults"
)

func TestParseSPF(t *testing.T) {
	for _, c := range []struct {
		text  string
		terms string // "" with want
		want  string // part of the error
	}{
		{"v=spf1 -all", "-all", ""},
		{"V=SPF1 INCLUDE:spf.protection.outlook.com ~ALL", "include:spf.protection.outlook.com ~all", ""},
		{"v=spf1", "", ""},
		{"v=spf1 a mx a:a.example/24 mx:b.example//64 a/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", "a mx a:a.example mx:b.example a ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", ""},
		{"v=spf1 redirect=_spf.example.com", "redirect=_spf.example.com", ""},
		{"v=spf1 exists:%{i}._spf.%{d2} exists:%{l1r-}.x.example ?all", "exists:%{i}._spf.%{d2} exists:%{l1r-}.x.example ?all", ""},
		{"v=spf1 ptr ptr:example.com unknown=x -all", "ptr ptr:example.com unknown=x -all", ""},
		{"v=spf10 -all", "", "begin"},
		{"v=spf1include:x.example", "", "begin"},
		{"v=spf1 include:", "", "missing"},
		{"v=spf1 include", "", "needs a domain"},
		{"v=spf1 include:spf", "", "no domain"},
		{"v=spf1 include:a..example", "", "no domain"},
		{"v=spf1 all:x.example", "", "no value"},
		{"v=spf1 ip4:192.0.2.256", "", "no ip4"},
		{"v=spf1 ip4:2001:db8::1", "", "no ip4"},
		{"v=spf1 ip6:192.0.2.1", "", "no ip6"},
		{"v=spf1 a/33", "", "prefix"},
		{"v=spf1 a//129", "", "prefix"},
		{"v=spf1 ipv4:192.0.2.1", "", "no such mechanism"},
		{"v=spf1 - -all", "", "no such mechanism"},
		{"v=spf1 redirect=a.example redirect=b.example", "", "twice"},
		{"v=spf1 exists:%{q}.example", "", "macro"},
		{"v=spf1 exists:%x.example", "", "macro"},
		{"v=spf1 exists:%{d", "", "macro"},
		{"v=spf1 include:ü.example", "", "ASCII"},
	} {
		s, err := ParseSPF(c.text)
		var terms []string
		for _, t := range s.Terms {
			terms = append(terms, t.String())
		}
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.text, err, c.want)
			}
		} else if got := strings.Join(terms, " "); err != nil || got != c.terms {
			t.Errorf("%s: %q, %v; want %q", c.text, got, err, c.terms)
		}
	}
}

func TestParseDMARC(t *testing.T) {
	for _, c := range []struct{ text, policy, rua, want string }{
		{"v=DMARC1; p=none;", "none", "", ""},
		{"v=DMARC1;p=Reject; rua=mailto:a@x.example!10m , mailto:b@y.example; pct=50; adkim=s; fo=1", "reject", "mailto:a@x.example mailto:b@y.example", ""},
		{"v=DMARC1; rua=mailto:a@x.example; p=none", "", "", "follow"},
		{"v=dmarc1; p=none", "", "", "begin"},
		{"v=DMARC1", "", "", "no p"},
		{"v=DMARC1; p=monitor", "", "", "want one of"},
		{"v=DMARC1; p=none; pct=101", "", "", "pct"},
		{"v=DMARC1; p=none; p=reject", "", "", "twice"},
		{"v=DMARC1; p=none;; sp=none", "", "", "empty"},
		{"v=DMARC1; p=none; rua=a@x.example", "", "", "mailto"},
		{"v=DMARC1 p=none", "", "", "begin"},
	} {
		d, err := ParseDMARC(c.text)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.text, err, c.want)
			}
		} else if err != nil || d.Policy != c.policy || strings.Join(d.Aggregate, " ") != c.rua {
			t.Errorf("%s: %+v, %v", c.text, d, err)
		}
	}
	if got := ReportDomain("mailto:dmarc@Reports.Example"); got != "reports.example" {
		t.Errorf("ReportDomain: %q", got)
	}
}

func TestParsePolicy(t *testing.T) {
	good := "version: STSv1\r\nmode: enforce\r\nmx: mail.acme.example\r\nmx: *.mail.protection.outlook.com\r\nmax_age: 604800\r\n"
	p, err := ParsePolicy(good)
	if err != nil || p.Mode != "enforce" || p.MaxAge != 7*24*time.Hour {
		t.Fatalf("%+v, %v", p, err)
	}
	for host, want := range map[string]bool{
		"mail.acme.example.":                       true,
		"MAIL.acme.example":                        true,
		"x.mail.acme.example":                      false,
		"acme.mail.protection.outlook.com":         true,
		"mail.protection.outlook.com":              false,
		"a.b.mail.protection.outlook.com":          false,
		"evilmail.protection.outlook.com.attacker": false,
	} {
		if p.Allows(host) != want {
			t.Errorf("Allows(%s) is not %v", host, want)
		}
	}
	for want, body := range map[string]string{
		"version:":    strings.Replace(good, "STSv1", "STSv2", 1),
		"no version":  strings.Replace(good, "version: STSv1\r\n", "", 1),
		"mode:":       strings.Replace(good, "enforce", "strict", 1),
		"no mode":     strings.Replace(good, "mode: enforce\r\n", "", 1),
		"max_age":     strings.Replace(good, "604800", "31557601", 1),
		"no mx":       "version: STSv1\nmode: testing\nmax_age: 1\n",
		"mx:":         strings.Replace(good, "*.mail", "mail.*", 1),
		"is no \"fie": good + "<html>\r\n",
	} {
		if _, err := ParsePolicy(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", body, err, want)
		}
	}
	if p, err := ParsePolicy("version: STSv1\nmode: none\nmax_age: 0"); err != nil || p.Mode != "none" {
		t.Errorf("mode none: %+v, %v", p, err)
	}
}

func TestParseOthers(t *testing.T) {
	if id, err := ParseSTS("v=STSv1; id=20270115T18;"); err != nil || id != "20270115T18" {
		t.Errorf("ParseSTS: %q, %v", id, err)
	}
	for _, bad := range []string{"v=STSv1;", "v=STSv1; id=a-b", "id=1; v=STSv1", "v=STSv1; id=" + strings.Repeat("x", 33)} {
		if _, err := ParseSTS(bad); err == nil {
			t.Errorf("ParseSTS(%q): no error", bad)
		}
	}
	if to, err := ParseTLSRPT("v=TLSRPTv1; rua=mailto:t@x.example,https://r.example/v1"); err != nil || len(to) != 2 {
		t.Errorf("ParseTLSRPT: %q, %v", to, err)
	}
	for _, bad := range []string{"v=TLSRPTv1", "v=TLSRPTv1; rua=ftp://x", "v=TLSRPTv1; rua=https:"} {
		if _, err := ParseTLSRPT(bad); err == nil {
			t.Errorf("ParseTLSRPT(%q): no error", bad)
		}
	}
	if k, err := ParseDKIM("v=DKIM1; k=rsa; t=y:s; p=MIGf MA0G"); err != nil || k.Octets != 6 || !k.Testing || k.Revoked {
		t.Errorf("ParseDKIM: %+v, %v", k, err)
	}
	if k, err := ParseDKIM("p="); err != nil || !k.Revoked {
		t.Errorf("ParseDKIM of a revoked key: %+v, %v", k, err)
	}
	for _, bad := range []string{"v=DKIM1", "k=rsa; v=DKIM1; p=", "p=***"} {
		if _, err := ParseDKIM(bad); err == nil {
			t.Errorf("ParseDKIM(%q): no error", bad)
		}
	}
}

// What a parser takes, printed and read again, is the same.
func FuzzSPF(f *testing.F) {
	for _, s := range []string{"v=spf1 include:a.example a/24//64 ip4:192.0.2.1 exists:%{i}.x.example redirect=b.example -all", "v=spf1 a:%{d}/24", "v=spf1 +", "v=spf1 =x"} {
		f.Add(s)
	}
	faults.Fuzz(f, func(t *testing.T, text string) {
		s, err := ParseSPF(text)
		if err != nil {
			return
		}
		again := "v=spf1"
		for _, term := range s.Terms {
			again += " " + term.String()
		}
		b, err := ParseSPF(again)
		if err != nil || len(b.Terms) != len(s.Terms) {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
		for i := range b.Terms {
			if b.Terms[i] != s.Terms[i] {
				t.Fatalf("%q: term %v became %v", text, s.Terms[i], b.Terms[i])
			}
		}
	})
}

func FuzzDMARC(f *testing.F) {
	f.Add("v=DMARC1; p=none; rua=mailto:a@b.example!1m")
	faults.Fuzz(f, func(t *testing.T, text string) {
		d, err := ParseDMARC(text)
		if err != nil {
			return
		}
		if !IsDMARC(text) || d.Policy == "" || d.Percent < 0 || d.Percent > 100 {
			t.Fatalf("%q: %+v", text, d)
		}
		for _, u := range d.Aggregate {
			if !strings.Contains(u, "@") {
				t.Fatalf("%q: %q", text, u)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: *.a.example\nmax_age: 1\n", "x.a.example")
	faults.Fuzz(f, func(t *testing.T, body, host string) {
		p, err := ParsePolicy(body)
		if err == nil && (p.Mode == "" || p.MaxAge < 0 || p.MaxAge > longestAge*time.Second || p.Mode != "none" && len(p.MX) == 0) {
			t.Fatalf("%q: %+v", body, p)
		}
		p.Allows(host)
	})
}

func FuzzTags(f *testing.F) {
	f.Add("v=DKIM1; p=AAAA")
	f.Add("v=STSv1; id=1;")
	f.Add("v=TLSRPTv1; rua=mailto:a@b")
	faults.Fuzz(f, func(t *testing.T, text string) {
		if id, err := ParseSTS(text); err == nil && (id == "" || !IsSTS(text)) {
			t.Fatalf("%q: id %q", text, id)
		}
		if to, err := ParseTLSRPT(text); err == nil && (len(to) == 0 || !IsTLSRPT(text)) {
			t.Fatalf("%q: %q", text, to)
		}
		if k, err := ParseDKIM(text); err == nil && k.Revoked != (k.Octets == 0) {
			t.Fatalf("%q: %+v", text, k)
		}
	})
}
