package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
)

func TestPost(t *testing.T) {
	var got Message
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		w.Write([]byte("no such hook"))
	}))
	defer srv.Close()
	want := Message{Text: "acme waits", Event: "gate.waiting", Migration: "acme", Subject: "flip", Detail: []string{"0 of 1"}, At: time.Unix(1800000000, 0).UTC()}
	if err := Post(t.Context(), srv.Client(), srv.URL+"/secret-token", want); err != nil {
		t.Fatal(err)
	}
	if got.Text != want.Text || got.Event != want.Event || got.Subject != want.Subject || !got.At.Equal(want.At) {
		t.Errorf("arrived: %+v", got)
	}
	status = http.StatusNotFound
	err := Post(t.Context(), srv.Client(), srv.URL+"/secret-token", want)
	if providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), "no such hook") {
		t.Errorf("a refusal: %v", err)
	}
	for rest, quoted := range map[string]string{
		"/hooks/T0secret123/B0token99?key=k3y-and-more": "{\"error\":\"no service at /hooks/T0secret123/B0token99?key=k3y-and-more\"}", "/services/T0secret123": strings.Repeat("x", 505) + "T0secret123",
	} {
		srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(quoted))
		})
		if err := Post(t.Context(), srv.Client(), srv.URL+rest, want); err == nil || strings.Contains(err.Error(), "T0se") || strings.Contains(err.Error(), "B0tok") || strings.Contains(err.Error(), "k3y") {
			t.Errorf("a refusal that quotes the address: %v", err)
		}
	}
	// A page that breaks off, or is longer than what is read, may end in the middle of the address; net/http quotes a Location that is no
	// address.
	for name, answer := range map[string]func(http.ResponseWriter, string){
		"breaks off": func(w http.ResponseWriter, path string) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "no hook at "+path[:len(path)-3])
		},
		"is long": func(w http.ResponseWriter, path string) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, strings.Repeat(path, longest/len(path)+1))
		},
		"redirects": func(w http.ResponseWriter, path string) {
			w.Header().Set("Location", "http://%zz"+path)
			w.WriteHeader(http.StatusFound)
		},
	} {
		srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r.URL.Path) })
		if err := Post(t.Context(), srv.Client(), srv.URL+"/hooks/T0secret123"+strings.Repeat("x", 700), want); err == nil || strings.Contains(err.Error(), "T0se") {
			t.Errorf("an answer that %s: %v", name, err)
		}
	}
	srv.Close()
	for _, address := range []string{srv.URL + "/secret-token", "ftp://x/secret-token", ":secret-token"} {
		err := Post(t.Context(), http.DefaultClient, address, want)
		if err == nil || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
