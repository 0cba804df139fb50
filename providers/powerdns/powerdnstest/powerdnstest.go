// Package powerdnstest is a double of PowerDNS' HTTP interface. Only tests import it.
package powerdnstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
)

// Key is the only key that the double knows.
const Key = "changeme-s3cret"

// Server is the double. It serves one zone.
type Server struct {
	*hostedtest.Faults
	Store *hostedtest.Store
	URL   string

	mu   sync.Mutex
	kind string
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start runs the double until the test ends. zone is canonical.
func Start(tb TB, zone string) *Server {
	tb.Helper()
	s := &Server{Store: hostedtest.NewStore(zone), kind: "Master"}
	s.Faults = hostedtest.NewFaults(http.HandlerFunc(s.handle))
	srv := httptest.NewServer(s.Faults)
	s.URL = srv.URL
	tb.Cleanup(srv.Close)
	return s
}

// Kind sets the zone's kind: "Native", "Master", "Slave".
func (s *Server) Kind(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind = kind
}

type record struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

type rrset struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	TTL        *uint32  `json:"ttl,omitempty"`
	ChangeType string   `json:"changetype,omitempty"`
	Records    []record `json:"records"`
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("X-API-Key") != Key:
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	case r.URL.Path != "/api/v1/servers/localhost/zones/"+s.Store.Zone:
		refuse(w, http.StatusNotFound, "Not Found")
	case r.Method == http.MethodGet:
		s.read(w)
	case r.Method == http.MethodPatch:
		s.patch(w, r)
	default:
		refuse(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	}
}

func (s *Server) read(w http.ResponseWriter) {
	s.mu.Lock()
	kind := s.kind
	s.mu.Unlock()
	sets := []rrset{}
	for _, r := range s.Store.Records() {
		i := slices.IndexFunc(sets, func(x rrset) bool { return x.Name == r.Name && x.Type == r.Type })
		if i < 0 {
			ttl := r.TTL
			sets = append(sets, rrset{Name: r.Name, Type: r.Type, TTL: &ttl})
			i = len(sets) - 1
		}
		sets[i].Records = append(sets[i].Records, record{r.Data, r.Disabled})
	}
	answer(w, http.StatusOK, map[string]any{"id": s.Store.Zone, "name": s.Store.Zone, "kind": kind, "rrsets": sets})
}

// patch carries out set after set, in their order, and nothing when one can't be.
func (s *Server) patch(w http.ResponseWriter, req *http.Request) {
	var body struct{ RRsets []rrset }
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	err := s.Store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		for _, set := range body.RRsets {
			if !strings.HasSuffix(set.Name, ".") || set.Name != s.Store.Zone && !strings.HasSuffix(set.Name, "."+s.Store.Zone) {
				return nil, fmt.Errorf("RRset %s IN %s: Name is out of zone", set.Name, set.Type)
			}
			list = slices.DeleteFunc(list, func(r hostedtest.Record) bool { return r.Name == set.Name && r.Type == set.Type })
			switch set.ChangeType {
			case "DELETE":
				continue
			case "REPLACE":
			default:
				return nil, fmt.Errorf("changetype not understood")
			}
			if set.TTL == nil {
				return nil, fmt.Errorf("key 'ttl' not an Integer or not present")
			}
			for _, r := range set.Records {
				list = append(list, hostedtest.Record{Name: set.Name, Type: set.Type, TTL: *set.TTL, Data: r.Content, Disabled: r.Disabled})
			}
			if why := hostedtest.Invalid(list); why != "" {
				return nil, fmt.Errorf("RRset %s IN %s: Conflicts with pre-existing RRset: %s", set.Name, set.Type, why)
			}
		}
		return list, nil
	})
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
