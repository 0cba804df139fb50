package hosted_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/https/httpstest"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
)

const key = "publicprefix.s3cretOfTheKey"

// TestEndlessAnswers: what never ends, or comes a drop at a time, costs bounded memory and time, to readers and writers; nobody
// is led elsewhere, and the error shows no key.
func TestEndlessAnswers(t *testing.T) {
	double := ionostest.Start(t, "acme.example.")
	proxy := httpstest.Start(t, strings.TrimSuffix(double.URL, "/dns"))
	survived := 0
	for _, f := range httpstest.Faults() {
		if !f.Large && !f.Slow {
			continue
		}
		f.Lasts = true
		for _, method := range []string{http.MethodGet, http.MethodPatch} {
			t.Run(f.Name+" to "+method, func(t *testing.T) {
				c := &hosted.Client{
					Base: proxy.URL + "/dns", At: "IONOS", Credentials: hostedtest.Ref, Secrets: hostedtest.Secret(key), Clock: hostedtest.NewClock(),
					Authorize: func(h http.Header, secret string) { h.Set("X-API-Key", secret) },
				}
				if f.Slow {
					c.Timeout = 60 * time.Millisecond
				}
				proxy.Spoil(1, f)
				defer proxy.Clear()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				var out struct{ Name string }
				err := c.Do(t.Context(), "read zone", method, "/v1/zones", nil, &out)
				runtime.ReadMemStats(&after)
				e, ok := errors.AsType[*providers.Error](err)
				if !ok || e.Remedy == "" || strings.Contains(fmt.Sprintf("%v %+v", err, e), key) {
					t.Fatalf("%#v", err)
				}
				want := []providers.Reason{providers.Unreachable, providers.Protocol, providers.Refused}
				if method != http.MethodGet {
					want = []providers.Reason{providers.Uncertain, providers.Refused}
				}
				found := false
				for _, r := range want {
					found = found || e.Reason == r
				}
				if !found {
					t.Errorf("%v, want one of %v", err, want)
				}
				requests, _ := proxy.Counts()
				if requests > 4 || method != http.MethodGet && requests > 1 {
					t.Errorf("%d requests", requests)
				}
				if n := proxy.Poured(); n > 100<<20 {
					t.Errorf("%d octets were taken", n)
				}
				// What was taken in all, whether or not it was kept: a body is read into a buffer that grows.
				if n := (after.TotalAlloc - before.TotalAlloc) / uint64(requests); n > 400<<20 {
					t.Errorf("%d octets a request were allocated", n)
				}
			})
			if t.Failed() {
				return
			}
			survived++
		}
	}
	faults.Count(t, "API faults", survived)
}
