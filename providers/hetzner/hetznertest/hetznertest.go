// Package hetznertest is a double of the zones of the Hetzner Cloud API. Only tests import it.
package hetznertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
)

// Token is the only token that the double knows.
const Token = "s3cretHetznerToken"

// Server is the double. It serves one zone, whose default TTL is 3600.
type Server struct {
	*hostedtest.Faults
	Store *hostedtest.Store
	URL   string

	mu        sync.Mutex
	mode      string
	slow      int
	failing   string
	running   map[int]int // actions, and how often they are still to say "running"
	last      int
	protected map[string]bool
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start runs the double until the test ends. zone is canonical.
func Start(tb TB, zone string) *Server {
	tb.Helper()
	s := &Server{Store: hostedtest.NewStore(zone), mode: "primary", running: map[int]int{}, protected: map[string]bool{}}
	s.Faults = hostedtest.NewFaults(http.HandlerFunc(s.handle))
	srv := httptest.NewServer(s.Faults)
	s.URL = srv.URL + "/v1"
	tb.Cleanup(srv.Close)
	return s
}

func (s *Server) turn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Secondary makes the zone one that Hetzner transfers from elsewhere.
func (s *Server) Secondary() { s.turn(func() { s.mode = "secondary" }) }

// Slow makes every action say "running" n times.
func (s *Server) Slow(n int) { s.turn(func() { s.slow = n }) }

// FailNext makes the next action end in an error with that code, with nothing changed.
func (s *Server) FailNext(code string) { s.turn(func() { s.failing = code }) }

// Protect protects a set, by its relative name and type.
func (s *Server) Protect(name, typ string) { s.turn(func() { s.protected[name+"/"+typ] = true }) }

type value struct {
	Value string `json:"value"`
}

type rrset struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	TTL        *uint32         `json:"ttl"`
	Records    []value         `json:"records"`
	Protection map[string]bool `json:"protection"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "details": map[string]any{}}})
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	zone := "/v1/zones/" + strings.TrimSuffix(s.Store.Zone, ".")
	rest, ofZone := strings.CutPrefix(r.URL.Path, zone)
	id, ofAction := strings.CutPrefix(r.URL.Path, "/v1/zones/actions/")
	parts := strings.Split(strings.TrimPrefix(rest, "/rrsets/"), "/")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		refuse(w, http.StatusUnauthorized, "unauthorized", "unable to authenticate")
	case ofAction:
		n, _ := strconv.Atoi(id)
		answer(w, http.StatusOK, s.action(n))
	case !ofZone:
		refuse(w, http.StatusNotFound, "not_found", "zone not found")
	case rest == "" && r.Method == http.MethodGet:
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"zone": map[string]any{"id": 42, "name": strings.TrimSuffix(s.Store.Zone, "."), "mode": s.mode, "ttl": 3600}})
	case rest == "/rrsets" && r.Method == http.MethodGet:
		s.list(w, r)
	case rest == "/rrsets" && r.Method == http.MethodPost:
		s.create(w, r)
	case len(parts) == 2 && r.Method == http.MethodDelete:
		s.change(w, parts, func([]hostedtest.Record) ([]hostedtest.Record, error) { return nil, nil })
	case len(parts) == 4 && parts[2] == "actions" && r.Method == http.MethodPost:
		s.modify(w, r, parts)
	default:
		refuse(w, http.StatusNotFound, "not_found", "no such route")
	}
}

func (s *Server) relative(name string) string {
	if name == s.Store.Zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+s.Store.Zone)
}

func (s *Server) absolute(name string) string {
	if name == "@" {
		return s.Store.Zone
	}
	return name + "." + s.Store.Zone
}

// list shows host names of the zone relative to it, as people enter them.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	const perPage = 5
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	sets := []rrset{}
	s.mu.Lock()
	for _, rec := range s.Store.Records() {
		name := s.relative(rec.Name)
		i := slices.IndexFunc(sets, func(x rrset) bool { return x.Name == name && x.Type == rec.Type })
		if i < 0 {
			x := rrset{ID: name + "/" + rec.Type, Name: name, Type: rec.Type, Protection: map[string]bool{"change": s.protected[name+"/"+rec.Type]}}
			if rec.TTL != 3600 {
				ttl := rec.TTL
				x.TTL = &ttl
			}
			sets = append(sets, x)
			i = len(sets) - 1
		}
		v := rec.Data
		if rec.Type == "MX" || rec.Type == "CNAME" {
			v = strings.TrimSuffix(v, "."+s.Store.Zone)
		}
		sets[i].Records = append(sets[i].Records, value{v})
	}
	s.mu.Unlock()
	var next *int
	if page*perPage < len(sets) {
		n := page + 1
		next = &n
	}
	answer(w, http.StatusOK, map[string]any{
		"rrsets": sets[min((page-1)*perPage, len(sets)):min(page*perPage, len(sets))],
		"meta":   map[string]any{"pagination": map[string]any{"page": page, "per_page": perPage, "next_page": next, "total_entries": len(sets)}},
	})
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var body rrset
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "json_error", err.Error())
		return
	}
	if body.TTL != nil && *body.TTL < 60 {
		refuse(w, http.StatusUnprocessableEntity, "invalid_input", "ttl must be at least 60")
		return
	}
	s.change(w, []string{body.Name, body.Type}, func(old []hostedtest.Record) ([]hostedtest.Record, error) {
		if len(old) > 0 {
			return nil, fmt.Errorf("rrset already exists")
		}
		ttl := uint32(3600)
		if body.TTL != nil {
			ttl = *body.TTL
		}
		return s.records(body, ttl), nil
	})
}

func (s *Server) records(set rrset, ttl uint32) (list []hostedtest.Record) {
	for _, v := range set.Records {
		list = append(list, hostedtest.Record{Name: s.absolute(set.Name), Type: set.Type, TTL: ttl, Data: v.Value})
	}
	return list
}

func (s *Server) modify(w http.ResponseWriter, r *http.Request, parts []string) {
	var body rrset
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "json_error", err.Error())
		return
	}
	body.Name, body.Type = parts[0], parts[1]
	s.change(w, parts[:2], func(old []hostedtest.Record) ([]hostedtest.Record, error) {
		switch {
		case len(old) == 0:
			return nil, fmt.Errorf("rrset not found")
		case parts[3] == "set_records":
			return s.records(body, old[0].TTL), nil
		case parts[3] == "change_ttl" && body.TTL != nil && *body.TTL >= 60:
			for i := range old {
				old[i].TTL = *body.TTL
			}
			return old, nil
		}
		return nil, fmt.Errorf("ttl must be at least 60")
	})
}

// change replaces one set and answers with an action.
func (s *Server) change(w http.ResponseWriter, set []string, f func(old []hostedtest.Record) ([]hostedtest.Record, error)) {
	name, typ := s.absolute(set[0]), set[1]
	s.mu.Lock()
	failing := s.failing
	s.failing = ""
	s.mu.Unlock()
	if failing != "" {
		answer(w, http.StatusCreated, map[string]any{"action": map[string]any{"id": 1, "status": "error", "error": map[string]string{"code": failing, "message": "the action failed"}}})
		return
	}
	err := s.Store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		var old, rest []hostedtest.Record
		for _, r := range list {
			if r.Name == name && r.Type == typ {
				old = append(old, r)
			} else {
				rest = append(rest, r)
			}
		}
		next, err := f(old)
		if err != nil {
			return nil, err
		}
		rest = append(rest, next...)
		if why := hostedtest.Invalid(rest); why != "" {
			return nil, fmt.Errorf("%s", why)
		}
		return rest, nil
	})
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid_input", err.Error())
		return
	}
	s.mu.Lock()
	s.last++
	id := s.last
	s.running[id] = s.slow
	s.mu.Unlock()
	answer(w, http.StatusCreated, s.action(id))
}

func (s *Server) action(id int) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := "success"
	if s.running[id] > 0 {
		s.running[id]--
		status = "running"
	}
	return map[string]any{"action": map[string]any{"id": id, "command": "set_rrset_records", "status": status, "progress": 100, "error": nil}}
}
