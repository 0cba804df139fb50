// Package ionos changes zones over the IONOS DNS API, version 1
// (https://developer.hosting.ionos.com/docs/dns). IONOS Cloud DNS is another
// product with another interface.
package ionos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// Endpoint is the base URL of the API.
const Endpoint = "https://api.hosting.ionos.com/dns/v1"

// name is what people call the host.
const name = "IONOS"

// The limit of zone and record calls is documented nowhere; a client in production
// keeps to 25 a minute. A few may come at once.
const (
	every = 2400 * time.Millisecond
	burst = 10
)

// NewZone makes the zone of that canonical name. It touches no network and
// resolves no secret. endpoint "" is IONOS' own. The secret is the key as the
// developer portal shows it: the public prefix, a dot, the secret.
func NewZone(zone, endpoint string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
	zone, err := dns.Name(zone)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		endpoint = Endpoint
	}
	a := &api{zone: zone, client: &hosted.Client{
		Base: strings.TrimRight(endpoint, "/"), At: name, Credentials: ref, Secrets: secrets, Clock: clock,
		Authorize: func(h http.Header, secret string) { h.Set("X-API-Key", secret) },
		Words:     words, Every: every, Burst: burst,
	}}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

// words are those of the error array: [{"code", "message", "parameters"}]. Message and
// parameters may be missing.
func words(body []byte) string {
	var list []struct {
		Code       string          `json:"code"`
		Message    string          `json:"message"`
		Parameters json.RawMessage `json:"parameters"`
	}
	if json.Unmarshal(body, &list) != nil {
		return ""
	}
	var said []string
	for _, e := range list {
		s := e.Code
		if e.Message != "" {
			s = strings.TrimPrefix(s+": "+e.Message, ": ")
		}
		if len(e.Parameters) > 2 && string(e.Parameters) != "null" {
			s += " " + string(e.Parameters)
		}
		if s != "" {
			said = append(said, s)
		}
	}
	return strings.Join(said, "; ")
}

// types are those of the published interface. It serves more by hearsay; what isn't
// documented is refused before anything is written.
var types = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}

func unserved() error {
	return fmt.Errorf("the API documents %s alone", strings.Join(types, ", "))
}
