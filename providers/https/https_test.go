package https_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/https"
)

// TestTransportTrustsItsFile: an authority of one's own is trusted with the file and refused without.
func TestTransportTrustsItsFile(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer s.Close()
	dir := t.TempDir()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, content := range map[string][]byte{"ca.pem": text, "empty.pem": []byte("no certificate")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(caFile string, now func() time.Time) error {
		transport, err := https.NewTransport(dir, caFile, now)
		if err != nil {
			return err
		}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(s.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get("ca.pem", nil); err != nil {
		t.Errorf("relative to the folder: %v", err)
	}
	if err := get(filepath.Join(dir, "ca.pem"), nil); err != nil {
		t.Errorf("absolute: %v", err)
	}
	for name, want := range map[string]string{"": "certificate", "none.pem": "can't be read", "empty.pem": "holds no certificate"} {
		if err := get(name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	if err := get("ca.pem", func() time.Time { return time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }); err == nil {
		t.Error("a certificate that is not valid yet was taken")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0, "99999999999": 0,
		"Thu, 26 Nov 2026 12:01:00 GMT": time.Minute, "Thu, 26 Nov 2026 11:59:00 GMT": 0,
	} {
		if got := https.RetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestWithoutURL(t *testing.T) {
	refused := errors.New("connection refused")
	if err := https.WithoutURL(&url.Error{Op: "Get", URL: "https://x/?token=t", Err: refused}, "t0ken"); !errors.Is(err, refused) || strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
	if err := https.WithoutURL(&url.Error{Op: "Get", URL: "https://x/", Err: context.DeadlineExceeded}, ""); err.Error() != "no answer in time" {
		t.Errorf("%v", err)
	}
}

// TestErrorsHoldNoSecret: what can't be read of an answer is quoted without the secret, in whatever form it comes back, and wherever
// the quotation is cut.
func TestErrorsHoldNoSecret(t *testing.T) {
	const secret = `Can4ry+/&="%7-of-a-service-that-quotes`
	secrets := map[string]string{"the secret": secret}
	encoded := url.QueryEscape(secret) + " " + url.PathEscape(secret) + " " + hex.EncodeToString([]byte(secret))
	for before := range 3 {
		encoded += " " + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before)+secret+"yz")) + " " + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", before)+secret))
	}
	var number int
	notOne := json.Unmarshal([]byte(`"x"`), &number)
	for shift := range 240 { // the quotation ends at each octet of each form
		for _, words := range []string{secret, encoded, encoded[len(encoded)/2:]} {
			inJSON, _ := json.Marshal([]map[string]string{{"message": strings.Repeat("é", shift/2) + strings.Repeat("x", shift) + words}})
			for _, body := range []string{string(inJSON), strings.Repeat("x", shift) + words + "\xff"} {
				err := https.Unreadable([]byte(body), secret, notOne)
				if !errors.Is(err, notOne) || !strings.Contains(err.Error(), "it begins") {
					t.Fatalf("it says neither why nor what: %v", err)
				}
				if found := canary.Leaks(map[string]string{"the error": err.Error()}, secrets); len(found) > 0 {
					t.Fatalf("%q:\n%s", body, strings.Join(found, "\n"))
				}
			}
		}
	}
	// Decoders quote values that they don't take.
	if err := https.Unreadable(nil, secret, fmt.Errorf("parsing time %q", secret)); strings.Contains(err.Error(), "Can4ry") {
		t.Errorf("%v", err)
	}
	// net/http quotes a Location that is no address before it asks whether to follow.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://%zz/?key="+r.Header.Get("X-Key"))
		w.WriteHeader(http.StatusFound)
	}))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Key", secret)
	resp, err := (&http.Client{CheckRedirect: https.NoRedirects}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "Can4ry") {
		t.Fatalf("net/http doesn't quote it: %v", err)
	}
	err = https.WithoutURL(err, secret)
	if found := canary.Leaks(map[string]string{"the error": err.Error()}, secrets); len(found) > 0 || !strings.Contains(err.Error(), "Location") {
		t.Errorf("%v\n%s", err, strings.Join(found, "\n"))
	}
}
