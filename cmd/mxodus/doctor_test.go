package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/secret"
)

// TestDoctorScreen: what works takes a line for each host, what doesn't one for each cause, with
// what to do, in 80 columns and without colours.
func TestDoctorScreen(t *testing.T) {
	var list []findingJSON
	add := func(ok bool, check, subject, group, code, detail, remedy string) {
		list = append(list, findingJSON{Check: check, Subject: subject, OK: ok, Code: code, Detail: detail, Remedy: remedy, Source: "acme.mx.hcl:12", group: group})
	}
	for _, who := range strings.Fields("anna bert carl dora emil") {
		add(true, "source_login", who+"@acme.example at ionos", "at ionos log in", "ok", "logs in", "")
	}
	for _, who := range strings.Fields("fritz gerd hans ida jens kai lea") {
		add(false, "source_login", who+"@acme.example at ionos", "at ionos log in", "wrong_host", "the password is refused; imap.ionos.com takes it", `set region = "com" in the block`)
	}
	add(true, "zone", "acme.example at ionos", "", "ok", "MX 10 mx00.ionos.de.", "")
	add(false, "name_servers", "acme.example", "", "name_server_lag", "ns1 \x1b[2Jserves one thing", "wait")
	a, out, _ := program(t.TempDir(), "", false)
	a.environ = append(a.environ, "COLUMNS=80")
	if err := a.showFindings(list); err != nil {
		t.Fatal(err)
	}
	want := `ok   source_login  5 mailboxes at ionos log in
ok   zone          acme.example at ionos: MX 10 mx00.ionos.de.
FAIL source_login  fritz@acme.example at ionos, gerd@acme.example at ionos,
                   hans@acme.example at ionos, ida@acme.example at ionos,
                   jens@acme.example at ionos and 2 more: the password is
                   refused; imap.ionos.com takes it [wrong_host]
     what to do    set region = "com" in the block
     configured    acme.mx.hcl:12
FAIL name_servers  acme.example: ns1 \x1b[2Jserves one thing [name_server_lag]
     what to do    wait
     configured    acme.mx.hcl:12

8 of 14 things don't work. mxodus explain CODE says more about a code.
Next: mend them, and run mxodus doctor again.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// TestDoctorCodes: a secret's remedy stands on its own line, and what looks behind a failure has the last word.
func TestDoctorCodes(t *testing.T) {
	f := trial{check: "source_login", try: func(context.Context) (string, error) {
		return "", &secret.Error{Ref: plan.SecretRef{Name: "mail", Kind: "csv", Ref: "secrets/x.csv"}, Address: "a@b.example", Problem: "no row has this address", Remedy: "add a row"}
	}}.run(context.Background())
	if f.Code != "secret" || f.Remedy != "add a row" || strings.Contains(f.Detail, "add a row") || !strings.Contains(f.Detail, "no row has this address") {
		t.Errorf("got %+v", f)
	}
	f = trial{try: func(context.Context) (string, error) {
		return "", &providers.Error{Op: "log in", Reason: providers.Authentication, Server: "NO"}
	}, behind: func(context.Context, error) imap.Diagnosis {
		return imap.Diagnosis{Code: imap.IMAPOff, Detail: "off", Remedy: "switch it on"}
	}}.run(context.Background())
	if f.Code != imap.IMAPOff || f.Remedy != "switch it on" || f.Detail != "off" {
		t.Errorf("got %+v", f)
	}
}

// TestOtherRegions: a wrong region is looked for with few mailboxes.
func TestOtherRegions(t *testing.T) {
	b := newBehind()
	h := plan.Host{Kind: "ionos", Hostname: "imap.ionos.de"}
	for i := range 4 {
		if got := len(b.others("ionos", h)); (got == 6) != (i < triedElsewhere) {
			t.Errorf("mailbox %d: %d hosts", i, got)
		}
	}
	b.found["ionos"] = "imap.ionos.com"
	if got := b.others("ionos", h); len(got) != 1 || got[0] != "imap.ionos.com" {
		t.Errorf("got %v", got)
	}
	for _, h := range []plan.Host{{Kind: "imap", Hostname: "imap.ionos.de"}, {Kind: "ionos", Hostname: "127.0.0.1"}} {
		if got := newBehind().others("x", h); got != nil {
			t.Errorf("%v: the password would be sent to %v", h, got)
		}
	}
}

// TestClock compares with the Date of an answer.
func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	date := now.Format(http.TimeFormat)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			t.Errorf("%s was sent", r.Method)
		}
		w.Header().Set("Date", date)
	}))
	defer srv.Close()
	m := &plan.Migration{Zones: []plan.ZoneConfig{{Kind: "ionos", Endpoint: srv.URL}}}
	for _, tc := range []struct {
		off  time.Duration
		code string
		say  string
	}{{2 * time.Second, "ok", "agrees"}, {5 * time.Minute, "clock_off", "5 min ahead of"}, {-2 * time.Hour, "clock_off", "2 h behind"}} {
		tr, ok := clockTrial(m, fixedClock{at: now.Add(tc.off)}, srv.Client())
		if !ok {
			t.Fatal("no trial")
		}
		if f := tr.run(context.Background()); f.Code != tc.code || !strings.Contains(f.Detail, tc.say) {
			t.Errorf("%s: got %+v", tc.off, f)
		}
	}
	date = "soon"
	tr, _ := clockTrial(m, fixedClock{at: now}, srv.Client())
	if f := tr.run(context.Background()); !f.OK {
		t.Errorf("got %+v", f)
	}
	if _, ok := clockTrial(&plan.Migration{Zones: []plan.ZoneConfig{{Kind: "by_hand"}}}, fixedClock{at: now}, nil); ok {
		t.Error("somebody is asked for the time that the migration has nothing to do with")
	}
}

// exchangers answers for a domain's MX.
type exchangers struct {
	providers.NameServers
	mx []string
}

func (e exchangers) Resolve(context.Context, string, string) (providers.Answer, error) {
	return providers.Answer{Set: plan.RRset{Data: e.mx}}, nil
}

// TestPort25 tells a network that blocks port 25 from a zone that is wrong.
func TestPort25(t *testing.T) {
	ns := exchangers{mx: []string{"10 gone.example.", "20 mx.example."}}
	dial := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			if address == "gone.example:25" {
				return nil, &net.DNSError{Err: "no such host", Name: "gone.example", IsNotFound: true}
			}
			if err == nil {
				c, _ := net.Pipe()
				return c, nil
			}
			return nil, err
		}
	}
	if detail, err := port25(context.Background(), ns, "acme.example", dial(nil)); err != nil || !strings.Contains(detail, "mx.example") {
		t.Errorf("got %q, %v", detail, err)
	}
	_, err := port25(context.Background(), ns, "acme.example", dial(errors.New("i/o timeout")))
	if e, ok := errors.AsType[*codedError](err); !ok || e.code != "port_25_blocked" || strings.Contains(e.detail, "gone.example") {
		t.Errorf("got %v", err)
	}
	if _, err := port25(context.Background(), exchangers{mx: []string{"0 ."}}, "acme.example", dial(errors.New("x"))); err != nil {
		t.Errorf("null MX: %v", err)
	}
}
