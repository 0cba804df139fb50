package trace

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/providers/faults"
)

// As real receivers write the field, shortened.
func TestAuthenticationResults(t *testing.T) {
	for _, c := range []struct {
		name, value, server     string
		spf, dkim, dmarc, other string
	}{
		{"Gmail", `mx.google.com;
       dkim=pass header.i=@acme.example header.s=sel1 header.b=AbC/1+;
       spf=pass (google.com: domain of anna@acme.example designates 192.0.2.25 as permitted sender) smtp.mailfrom=anna@acme.example;
       dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=acme.example`, "mx.google.com", "pass", "pass", "pass", ""},
		{"Exchange Online", `spf=softfail (sender IP is 192.0.2.1)
 smtp.mailfrom=acme.example; dkim=none (message not signed)
 header.d=none;dmarc=fail action=quarantine header.from=acme.example;compauth=fail reason=001`, "", "softfail", "none", "fail", "compauth fail"},
		{"version, comments everywhere, quoted strings", `mail.example (a (nested \) one)) 1; (x) spf (y) = (z) fail (why; not=this) reason="a \"b\"; c=d" smtp.mailfrom="x=y; dkim=pass"`, "mail.example", "fail", "", "", ""},
		{"several signatures", `mx.example; dkim=fail header.d=a.example; DKIM=Pass header.d=b.example`, "mx.example", "", "fail pass", "", ""},
		{"no result", `mx.example; none`, "mx.example", "", "", "", ""},
		{"method with a version", `mx.example 1; dkim/1=neutral`, "mx.example", "", "neutral", "", ""},
		{"a comment without an end", `mx.example; spf=pass (oh`, "mx.example", "pass", "", "", ""},
		{"nothing", ``, "", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ParseAuthentication(strings.ReplaceAll(c.value, "\n", " "))
			got := []string{a.Server}
			for _, m := range []string{"spf", "dkim", "dmarc"} {
				got = append(got, strings.Join(a.Says(m), " "))
			}
			want := []string{c.server, c.spf, c.dkim, c.dmarc}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, want %q (%+v)", got, want, a)
			}
			if name, value, ok := strings.Cut(c.other, " "); ok && strings.Join(a.Says(name), " ") != value {
				t.Errorf("%s: %q, want %q", name, a.Says(name), value)
			}
		})
	}
}

// A field in another server's name below the receiver's own counts for nothing.
func TestVerdictIsTheReceivers(t *testing.T) {
	f := Fields([]byte("Authentication-Results: mx.outside.example; spf=fail\r\nReceived: x\r\nAuthentication-Results: mx.outside.example;\r\n dmarc=fail\r\n" +
		"Authentication-Results: evil.example; spf=pass; dmarc=pass\r\nSubject: x\r\n\r\nAuthentication-Results: mx.outside.example; dkim=pass\r\n"))
	a, ok := Verdict(f)
	if !ok || strings.Join(a.Says("spf"), " ") != "fail" || strings.Join(a.Says("dmarc"), " ") != "fail" || len(a.Says("dkim")) != 0 {
		t.Errorf("%v %+v", ok, a)
	}
	if _, ok := Verdict(Fields([]byte("Subject: x\r\n\r\n"))); ok {
		t.Error("a verdict without a field")
	}
}

func TestReceived(t *testing.T) {
	at := time.Date(2027, 1, 15, 17, 0, 3, 0, time.UTC)
	for _, c := range []struct{ server, value, sender, name, ip, by, with string }{
		{"Postfix", "from mail.partner.example (mail.partner.example [192.0.2.7]) by mx.old.example (Postfix) with ESMTPS id 4Z for <anna@acme.example>; Fri, 15 Jan 2027 18:00:03 +0100 (CET)", "mail.partner.example", "mail.partner.example", "192.0.2.7", "mx.old.example", "ESMTPS"},
		{"Postfix, no reverse name", "from laptop (unknown [IPv6:2001:db8::7]) by mx.old.example (Postfix) with ESMTP id 4Z; Fri, 15 Jan 2027 18:00:03 +0100", "2001:db8::7", "laptop", "2001:db8::7", "mx.old.example", "ESMTP"},
		{"Exim", "from mail.partner.example ([192.0.2.7]:47312 helo=relay.partner.example) by mx.old.example with esmtps (TLS1.3) tls TLS_AES (Exim 4.96) (envelope-from <x@partner.example>) id 1r; Fri, 15 Jan 2027 17:00:03 +0000", "192.0.2.7", "relay.partner.example", "192.0.2.7", "mx.old.example", "ESMTPS"},
		{"Exim, address alone", "from [192.0.2.7] (helo=x.example) by mx.old.example with esmtp id 1r; Fri, 15 Jan 2027 17:00:03 +0000", "192.0.2.7", "x.example", "192.0.2.7", "mx.old.example", "ESMTP"},
		{"Nemesis (IONOS)", "from mail.partner.example ([192.0.2.7]) by mx.kundenserver.de (mxeue010 [212.227.15.41]) with ESMTPS (Nemesis) id 1M for <anna@acme.example>; Fri, 15 Jan 2027 18:00:03 +0100", "192.0.2.7", "mail.partner.example", "192.0.2.7", "mx.kundenserver.de", "ESMTPS"},
		{"Exchange", "from AM0PR.eurprd.prod.outlook.com (2603:10a6:208::21) by AM0PR2.eurprd.prod.outlook.com (2603:10a6:208::22) with Microsoft SMTP Server (version=TLS1_3) id 15.20; Fri, 15 Jan 2027 17:00:03 +0000", "2603:10a6:208::21", "am0pr.eurprd.prod.outlook.com", "2603:10a6:208::21", "am0pr2.eurprd.prod.outlook.com", "MICROSOFT"},
		{"qmail", "from unknown (HELO relay.partner.example) (192.0.2.7) by mx.old.example with SMTP; 15 Jan 2027 17:00:03 -0000", "192.0.2.7", "relay.partner.example", "192.0.2.7", "mx.old.example", "SMTP"},
		{"Gmail", "from mail.partner.example (mail.partner.example. [192.0.2.7]) by mx.google.com with ESMTPS id a1 for <x@acme.example>; Fri, 15 Jan 2027 09:00:03 -0800 (PST)", "mail.partner.example", "mail.partner.example", "192.0.2.7", "mx.google.com", "ESMTPS"},
		{"inside of Google", "by 2002:a05:6a10:1 with SMTP id x; Fri, 15 Jan 2027 17:00:03 +0000", "", "", "invalid IP", "2002:a05:6a10:1", "SMTP"},
	} {
		t.Run(c.server, func(t *testing.T) {
			h := ParseReceived(c.value)
			got := []string{h.Sender(), h.Name, h.IP.String(), h.By, h.With}
			if want := []string{c.sender, c.name, c.ip, c.by, c.with}; !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if !h.At.Equal(at) {
				t.Errorf("at %v", h.At)
			}
		})
	}
}

func TestBorder(t *testing.T) {
	const (
		lmtp   = "Received: from mx.old.example by store.old.example with LMTP id x; Fri, 15 Jan 2027 17:00:05 +0000\r\n"
		filter = "Received: from filter (localhost [127.0.0.1]) by mx.old.example (Postfix) with ESMTP id x; Fri, 15 Jan 2027 17:00:04 +0000\r\n"
		border = "Received: from out.partner.example (out.partner.example [192.0.2.7]) by mx.old.example (Postfix) with ESMTPS id x; Fri, 15 Jan 2027 17:00:03 +0000\r\n"
		inner  = "Received: from pc (pc [10.0.0.7]) by out.partner.example with ESMTPSA id x; Fri, 15 Jan 2027 17:00:02 +0000\r\n"
		forged = "Received: from innocent.example (innocent.example [198.51.100.1]) by mx.old.example with ESMTP id x; Fri, 15 Jan 2027 17:00:01 +0000\r\n"
	)
	for _, c := range []struct {
		name, header string
		mx           []string
		want         string
	}{
		{"by the name of the MX", lmtp + filter + border + inner, []string{"mx.old.example."}, "out.partner.example"},
		{"by the house", lmtp + filter + border + inner, nil, "out.partner.example"},
		{"MX under another name", lmtp + border + inner, []string{"mx00.ionos.de"}, "out.partner.example"},
		{"a forged hop below", border + inner + forged, nil, "out.partner.example"},
		{"nothing", "Subject: x\r\n", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := Border(Hops(Fields([]byte(c.header))), c.mx)
			if h.Sender() != c.want {
				t.Errorf("%q, want %q", h.Sender(), c.want)
			}
		})
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte("Received: from a (b [192.0.2.1]) by c with ESMTP; Fri, 15 Jan 2027 17:00:01 +0000\r\n x\r\nAuthentication-Results: a; spf=pass (\"\r\n\r\n"))
	f.Add([]byte(" \n:\nA :b\n\tc\n"))
	faults.Fuzz(f, func(t *testing.T, b []byte) {
		fields := Fields(b)
		for _, field := range fields {
			if field.Name == "" || strings.ContainsAny(field.Name+field.Value, "\n") {
				t.Errorf("field %q %q", field.Name, field.Value)
			}
		}
		if h, ok := Border(Hops(fields), []string{"mx.old.example"}); ok && h.Sender() == "" {
			t.Errorf("a border without a sender: %+v", h)
		}
		Verdict(fields)
	})
}

func FuzzAuthenticationResults(f *testing.F) {
	f.Add(`mx.google.com; dkim=pass header.i=@a.example; spf=pass (x) smtp.mailfrom=a@a.example`)
	f.Add(`a=b=c;;=;"q\`)
	faults.Fuzz(f, func(t *testing.T, s string) {
		a := ParseAuthentication(s)
		for _, r := range a.Results {
			if r.Method == "" || r.Method != strings.ToLower(r.Method) && utf8.ValidString(r.Method) {
				t.Errorf("%+v", r)
			}
		}
	})
}

func FuzzReceived(f *testing.F) {
	f.Add("from a (b [192.0.2.1]:25 helo=x) by c with ESMTP id 1 for <x>; Fri, 15 Jan 2027 17:00:01 +0000")
	f.Add("from [IPv6:::1%eth0] (HELO")
	faults.Fuzz(f, func(t *testing.T, s string) {
		if h := ParseReceived(s); h.IP.IsValid() && h.IP.Zone() != "" {
			t.Errorf("%+v", h)
		}
	})
}
