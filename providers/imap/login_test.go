package imap_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

func TestRefusedLogins(t *testing.T) {
	d := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{user: password}, Settings: "mail_max_userip_connections = 1\nservice imap-login {\n}"})
	base := plan.Host{Hostname: "127.0.0.1", Port: d.TLSPort(), CAFile: d.CAFile()}
	closed := base
	closed.Port = 1
	for _, test := range []struct {
		name     string
		host     func(h plan.Host) plan.Host
		password string
		want     providers.Reason
		words    string
	}{
		{"wrong password", func(h plan.Host) plan.Host { return h }, "secret-word", providers.Authentication, "AUTHENTICATIONFAILED"},
		{"wrong password by LOGIN", func(h plan.Host) plan.Host { h.Auth = "login"; return h }, "secret-word", providers.Authentication, "AUTHENTICATIONFAILED"},
		{"unknown authority", func(h plan.Host) plan.Host { h.CAFile = ""; return h }, password, providers.Certificate, "unknown authority"},
		{"wrong name", func(h plan.Host) plan.Host { h.Hostname = "imap.example.net"; return h }, password, providers.Certificate, "localhost"},
		{"no TLS there", func(h plan.Host) plan.Host { h.Port = d.Port(); return h }, password, providers.Unreachable, "doesn't speak TLS"},
		{"nobody listens", func(plan.Host) plan.Host { return closed }, password, providers.Unreachable, "refused"},
		{"no ca_file", func(h plan.Host) plan.Host { h.CAFile = "nowhere.pem"; return h }, password, providers.Certificate, "nowhere.pem"},
		{"starttls", func(h plan.Host) plan.Host { h.Port, h.TLS = d.Port(), plan.TLSStart; return h }, password, "", ""},
		{"starttls, LOGIN", func(h plan.Host) plan.Host { h.Port, h.TLS, h.Auth = d.Port(), plan.TLSStart, "login"; return h }, password, "", ""},
		{"starttls, unknown authority", func(h plan.Host) plan.Host { h.Port, h.TLS, h.CAFile = d.Port(), plan.TLSStart, ""; return h }, password, providers.Certificate, "unknown authority"},
		{"no TLS", func(h plan.Host) plan.Host { h.Port, h.TLS = d.Port(), plan.TLSNone; return h }, password, "", ""},
		{"token", func(h plan.Host) plan.Host { h.Auth = "xoauth2"; return h }, password, providers.Refused, "AUTH=XOAUTH2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := test.host(base)
			h.Credentials = plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
			dialer := &imap.Dialer{Host: h, Secrets: passwords(test.password), Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(h.Port)))
			}}
			s, err := dialer.Connect(t.Context(), providers.Account{Address: user})
			if err == nil {
				if err := s.Noop(t.Context()); err != nil {
					t.Error(err)
				}
				s.Close()
			}
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Reason != test.want || !strings.Contains(err.Error()+e.Remedy, test.words) || e.Remedy == "" {
				t.Fatalf("%v (%+v)", err, e)
			}
			if strings.Contains(fmt.Sprintf("%+v %v", e, e), "secret-word") {
				t.Error("the error holds the password")
			}
		})
	}
}
