// Package ionostest is a double of the IONOS DNS API. Only tests and the demo import it.
package ionostest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
)

// Key is the only key that the double knows.
const Key = "publicprefix.s3cretOfTheKey"

// Server is the double. It holds one zone of the account, and zones of others.
type Server struct {
	*hostedtest.Faults
	Store *hostedtest.Store
	URL   string // base URL, as the client wants it

	srv *httptest.Server

	mu       sync.Mutex
	services map[string][]plan.RRset // see Conflicts
	foreign  bool
	slave    bool
	gone     bool
	bare     bool
	stale    int
	old      []hostedtest.Record
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

const zoneID = "11af3414-ebba-11e9-8df5-66fbe8a334b4"

// Start runs the double until the test ends. zone is canonical.
func Start(tb TB, zone string) *Server {
	tb.Helper()
	s := &Server{Store: hostedtest.NewStore(zone), services: map[string][]plan.RRset{}}
	s.Faults = hostedtest.NewFaults(http.HandlerFunc(s.handle))
	s.srv = httptest.NewServer(s.Faults)
	s.URL = s.srv.URL + "/dns/v1"
	tb.Cleanup(s.srv.Close)
	return s
}

func (s *Server) turn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Conflicts makes a write to sets of that name and type switch off the records of other sets,
// as IONOS does with those of a service that the write is against.
func (s *Server) Conflicts(name, typ string, off ...plan.RRset) {
	s.turn(func() { s.services[name+" "+typ] = off })
}

// Foreign answers calls on the zone with 401, as for a zone of another account.
func (s *Server) Foreign(on bool) { s.turn(func() { s.foreign = on }) }

// Unlisted leaves the zone out of the account's list.
func (s *Server) Unlisted(on bool) { s.turn(func() { s.gone = on }) }

// Slave makes the zone one that IONOS transfers from elsewhere.
func (s *Server) Slave(on bool) { s.turn(func() { s.slave = on }) }

// BareErrors leaves message and parameters out of errors.
func (s *Server) BareErrors(on bool) { s.turn(func() { s.bare = on }) }

// Stale answers the next n readings of the zone with what it held before the last write.
func (s *Server) Stale(n int) { s.turn(func() { s.stale = n }) }

type record struct {
	ID         string `json:"id,omitempty"`
	Name       string `json:"name"`
	RootName   string `json:"rootName,omitempty"`
	Type       string `json:"type"`
	Content    string `json:"content"`
	ChangeDate string `json:"changeDate,omitempty"`
	TTL        *int64 `json:"ttl"`
	Prio       int    `json:"prio"`
	Disabled   bool   `json:"disabled"`
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/dns/v1")
	s.mu.Lock()
	foreign := s.foreign
	s.mu.Unlock()
	rest, ofZone := strings.CutPrefix(path, "/zones/"+zoneID)
	switch {
	case !strings.HasPrefix(r.URL.Path, "/dns/v1/"):
		s.refuse(w, http.StatusBadRequest, "INVALID_DATA", "Unsupported serviceId", nil)
	case r.Header.Get("X-API-Key") != Key:
		s.refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "The customer is not authorized to do this operation.", nil)
	case path == "/zones" && r.Method == http.MethodGet:
		s.zones(w)
	case !ofZone || foreign:
		s.refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "The customer is not authorized to do this operation.", nil)
	case rest == "" && r.Method == http.MethodGet:
		s.readZone(w)
	case rest == "" && r.Method == http.MethodPatch:
		s.patch(w, r)
	case strings.HasPrefix(rest, "/records/") && r.Method == http.MethodDelete:
		s.deleteRecord(w, strings.TrimPrefix(rest, "/records/"))
	default:
		// PUT on the zone would be here: a client that uses it has a fault.
		s.refuse(w, http.StatusForbidden, "FORBIDDEN_REQUEST", "Request not allowed.", nil)
	}
}

func (s *Server) refuse(w http.ResponseWriter, status int, code, message string, parameters map[string]any) {
	e := map[string]any{"code": code}
	s.mu.Lock()
	if !s.bare {
		e["message"] = message
		if parameters != nil {
			e["parameters"] = parameters
		}
	}
	s.mu.Unlock()
	answer(w, status, []any{e})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
	}
}

// zones holds, before the account's own, names that a careless match would take for it.
func (s *Server) zones(w http.ResponseWriter) {
	name := strings.TrimSuffix(s.Store.Zone, ".")
	list := []map[string]string{
		{"id": "00000000-0000-0000-0000-000000000001", "name": "not" + name, "type": "NATIVE"},
		{"id": "00000000-0000-0000-0000-000000000002", "name": "sub." + name, "type": "NATIVE"},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		typ := "NATIVE"
		if s.slave {
			typ = "SLAVE"
		}
		list = append(list, map[string]string{"id": zoneID, "name": name, "type": typ})
	}
	answer(w, http.StatusOK, list)
}

func (s *Server) readZone(w http.ResponseWriter) {
	name := strings.TrimSuffix(s.Store.Zone, ".")
	records := s.Store.Records()
	s.mu.Lock()
	if s.stale > 0 {
		s.stale--
		records = s.old
	}
	s.mu.Unlock()
	list := []record{}
	for _, r := range records {
		list = append(list, show(r, name))
	}
	slices.Reverse(list) // no order is promised
	answer(w, http.StatusOK, map[string]any{"id": zoneID, "name": name, "type": "NATIVE", "records": list})
}

// show is the API's form of a record: no final dots, MX and SRV with their first number apart,
// TXT in quotes.
func show(r hostedtest.Record, root string) record {
	ttl := int64(r.TTL)
	out := record{
		ID: r.ID, Name: strings.TrimSuffix(r.Name, "."), RootName: root, Type: r.Type, Content: r.Data, TTL: &ttl,
		Disabled: r.Disabled, ChangeDate: "2027-01-15T18:00:00.000Z",
	}
	switch r.Type {
	case "MX", "SRV":
		number, rest, _ := strings.Cut(r.Data, " ")
		fmt.Sscan(number, &out.Prio)
		out.Content = undotted(rest)
	case "CNAME", "NS":
		out.Content = undotted(r.Data)
	}
	return out
}

func undotted(host string) string {
	if host == "." || strings.HasSuffix(host, " .") {
		return host
	}
	return strings.TrimSuffix(host, ".")
}

// take is the way back, with what the API checks and adds.
func (s *Server) take(in record) (hostedtest.Record, string) {
	r := hostedtest.Record{Name: strings.ToLower(in.Name) + ".", Type: strings.ToUpper(in.Type), TTL: 3600, Disabled: in.Disabled, Data: in.Content}
	if in.TTL != nil {
		if *in.TTL < 60 || *in.TTL > 1<<31-1 {
			return r, "ttl"
		}
		r.TTL = uint32(*in.TTL)
	}
	if strings.HasSuffix(in.Name, ".") || r.Name != s.Store.Zone && !strings.HasSuffix(r.Name, "."+s.Store.Zone) {
		return r, "name"
	}
	switch r.Type {
	case "A", "AAAA", "CAA":
	case "MX", "SRV":
		r.Data = fmt.Sprintf("%d %s", in.Prio, dotted(in.Content))
	case "CNAME", "NS":
		r.Data = dotted(in.Content)
	case "TXT":
		if !strings.HasPrefix(in.Content, `"`) {
			if in.Content == "" {
				return r, "content"
			}
			var err error
			if r.Data, err = plan.CanonicalRdata("TXT", in.Content); err != nil {
				return r, "content"
			}
		}
	default:
		return r, "type"
	}
	if hostedtest.Invalid([]hostedtest.Record{r}) != "" {
		return r, "content"
	}
	return r, ""
}

func dotted(host string) string {
	if strings.HasSuffix(host, ".") {
		return host
	}
	return host + "."
}

// patch replaces all records of the names and types that the body holds.
func (s *Server) patch(w http.ResponseWriter, req *http.Request) {
	var body []record
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil || len(body) == 0 {
		s.refuse(w, http.StatusBadRequest, "INVALID_DATA", "The request body is invalid or not supported by the endpoint.", nil)
		return
	}
	touched := map[string]bool{}
	var added []hostedtest.Record
	for _, in := range body {
		r, invalid := s.take(in)
		if invalid != "" {
			s.refuse(w, http.StatusBadRequest, "INVALID_RECORD", "Record is invalid.", map[string]any{"errorRecord": in, "invalidFields": []string{invalid}})
			return
		}
		touched[r.Name+" "+r.Type] = true
		added = append(added, r)
	}
	s.edit(w, func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		list = slices.DeleteFunc(list, func(r hostedtest.Record) bool { return touched[r.Name+" "+r.Type] })
		list = append(list, added...)
		s.switchOff(list, touched)
		if why := hostedtest.Invalid(list); why != "" {
			return nil, fmt.Errorf("%s", why)
		}
		return list, nil
	})
}

// edit keeps the state before the edit for Stale, and answers.
func (s *Server) edit(w http.ResponseWriter, f func([]hostedtest.Record) ([]hostedtest.Record, error)) {
	before := s.Store.Records()
	if err := s.Store.Edit(f); err != nil {
		s.refuse(w, http.StatusBadRequest, "INVALID_RECORD", "Record is invalid.", map[string]any{"invalid": []string{err.Error()}})
		return
	}
	s.turn(func() { s.old = before })
	w.WriteHeader(http.StatusOK) // without a body
}

func (s *Server) switchOff(list []hostedtest.Record, touched map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for set := range touched {
		for _, off := range s.services[set] {
			for i := range list {
				if list[i].Name == off.Name && list[i].Type == off.Type {
					list[i].Disabled = true
				}
			}
		}
	}
}

func (s *Server) deleteRecord(w http.ResponseWriter, id string) {
	found := false
	for _, r := range s.Store.Records() {
		found = found || r.ID == id
	}
	if !found {
		s.refuse(w, http.StatusNotFound, "RECORD_NOT_FOUND", "Record does not exist.", nil)
		return
	}
	s.edit(w, func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		return slices.DeleteFunc(list, func(r hostedtest.Record) bool { return r.ID == id }), nil
	})
}
