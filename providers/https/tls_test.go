package https_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/https"
	"github.com/mxodus/mxodus/providers/tlstest"
)

const token = "dop_v1_canary_token_5f2c"

// TestCertificates: servers that aren't who they should be get neither the token nor the body.
func TestCertificates(t *testing.T) {
	ours, cases := tlstest.Setup(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ours.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	const body = `{"password":"of a new user, 81c2"}`
	bad := 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			wire := &tlstest.Wire{}
			addr := tlstest.Listen(t, func(conn net.Conn) {
				inner := tlstest.Upgrade(wire, wire.Conn(conn), c.Config)
				if inner == nil {
					return
				}
				head := make([]byte, 4096)
				_, _ = inner.Read(head) // what comes is recorded
				fmt.Fprint(inner, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				_, _ = io.Copy(io.Discard, inner)
			})
			transport, err := https.NewTransport(dir, "ca.pem", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.CloseIdleConnections()
			transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr.String())
			}
			transport.Proxy = nil
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+tlstest.Name+"/users?x="+token, bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: https.NoRedirects}).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			if c.Good {
				if err != nil || len(wire.Holds(token)) == 0 {
					t.Errorf("%v; the server heard %q", err, wire.Heard())
				}
				return
			}
			if err == nil {
				t.Fatal("the server was spoken to")
			}
			text := https.WithoutURL(err, token).Error()
			if !strings.Contains(text, c.Words) || strings.Contains(text, token) {
				t.Errorf("%s: want %q, and no token", text, c.Words)
			}
			if found := append(wire.Holds(token), wire.Holds(body)...); len(found) > 0 {
				t.Errorf("the server heard %q", found)
			}
			bad++
		})
	}
	faults.Count(t, "certificates", bad)
}
