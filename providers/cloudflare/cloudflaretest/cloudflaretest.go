// Package cloudflaretest is a double of the Cloudflare DNS API. Only tests import it.
package cloudflaretest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
)

// Token is the only token that the double knows.
const Token = "v1.s3cret-token"

const zoneID = "023e105f4ecef8ad9ca31a8372d0c353"

// Server is the double. It serves one zone.
type Server struct {
	*hostedtest.Faults
	Store *hostedtest.Store
	URL   string

	mu      sync.Mutex
	proxied map[string]bool // by id
	perPage int
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start runs the double until the test ends. zone is canonical. Pages hold few records, whatever
// is asked for, so that zones have several.
func Start(tb TB, zone string) *Server {
	tb.Helper()
	s := &Server{Store: hostedtest.NewStore(zone), proxied: map[string]bool{}, perPage: 7}
	s.Faults = hostedtest.NewFaults(http.HandlerFunc(s.handle))
	srv := httptest.NewServer(s.Faults)
	s.URL = srv.URL + "/client/v4"
	tb.Cleanup(srv.Close)
	return s
}

// Proxy has Cloudflare stand before a record, by name and type.
func (s *Server) Proxy(name, typ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.Store.Records() {
		if r.Name == name && r.Type == typ {
			s.proxied[r.ID] = true
		}
	}
}

type record struct {
	ID       string         `json:"id,omitempty"`
	Name     string         `json:"name"`
	Type     string         `json:"type"`
	Content  string         `json:"content"`
	Priority *int           `json:"priority,omitempty"`
	Data     map[string]any `json:"data,omitempty"`
	TTL      int64          `json:"ttl"`
	Proxied  bool           `json:"proxied"`
}

func answer(w http.ResponseWriter, status int, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	answer(w, status, map[string]any{"success": false, "result": nil, "errors": []any{map[string]any{"code": code, "message": message}}})
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(s.Store.Zone, ".")
	records := "/client/v4/zones/" + zoneID + "/dns_records"
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		refuse(w, http.StatusForbidden, 10000, "Authentication error")
	case r.URL.Path == "/client/v4/zones" && r.Method == http.MethodGet:
		zones := []any{}
		if r.URL.Query().Get("name") == name {
			zones = append(zones, map[string]any{"id": zoneID, "name": name, "status": "active", "type": "full"})
		}
		answer(w, http.StatusOK, map[string]any{"success": true, "errors": []any{}, "result": zones, "result_info": map[string]int{"page": 1, "total_pages": 1}})
	case r.URL.Path == records && r.Method == http.MethodGet:
		s.list(w, r)
	case r.URL.Path == records+"/batch" && r.Method == http.MethodPost:
		s.batch(w, r)
	default:
		refuse(w, http.StatusNotFound, 7003, "Could not route to "+r.URL.Path)
	}
}

func (s *Server) list(w http.ResponseWriter, req *http.Request) {
	n, _ := strconv.Atoi(req.URL.Query().Get("page"))
	all := s.Store.Records()
	s.mu.Lock()
	defer s.mu.Unlock()
	result := []record{}
	for _, r := range all[min((n-1)*s.perPage, len(all)):min(n*s.perPage, len(all))] {
		result = append(result, s.show(r))
	}
	answer(w, http.StatusOK, map[string]any{
		"success": true, "errors": []any{}, "result": result,
		"result_info": map[string]int{"page": n, "per_page": s.perPage, "count": len(result), "total_count": len(all), "total_pages": (len(all) + s.perPage - 1) / s.perPage},
	})
}

func (s *Server) show(r hostedtest.Record) record {
	out := record{ID: r.ID, Name: strings.TrimSuffix(r.Name, "."), Type: r.Type, Content: r.Data, TTL: int64(r.TTL), Proxied: s.proxied[r.ID]}
	if out.Proxied {
		out.TTL = 1
	}
	f := strings.Fields(r.Data)
	number := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
	bare := func(h string) string {
		if h == "." {
			return h
		}
		return strings.TrimSuffix(h, ".")
	}
	switch r.Type {
	case "CNAME", "NS":
		out.Content = bare(r.Data)
	case "MX":
		n := number(0)
		out.Priority, out.Content = &n, bare(f[1])
	case "SRV":
		n := number(0)
		out.Priority, out.Content = &n, strings.Join([]string{f[1], f[2], bare(f[3])}, " ")
		out.Data = map[string]any{"priority": n, "weight": number(1), "port": number(2), "target": bare(f[3])}
	case "CAA":
		value, err := plan.TXTText(strings.SplitN(r.Data, " ", 3)[2])
		if err != nil {
			value = f[2]
		}
		out.Data = map[string]any{"flags": number(0), "tag": f[1], "value": value}
	case "TLSA":
		out.Data = map[string]any{"usage": number(0), "selector": number(1), "matching_type": number(2), "certificate": f[3]}
	}
	return out
}

// take reads a record of a request.
func (s *Server) take(in record) (hostedtest.Record, error) {
	r := hostedtest.Record{ID: in.ID, Name: in.Name + ".", Type: in.Type, TTL: uint32(in.TTL), Data: in.Content}
	if in.TTL < 60 && in.TTL != 1 || in.TTL > 86400 {
		return r, fmt.Errorf("TTL must be between 60 and 86400 seconds, or 1 for Automatic")
	}
	if r.Name != s.Store.Zone && !strings.HasSuffix(r.Name, "."+s.Store.Zone) {
		return r, fmt.Errorf("DNS name is invalid")
	}
	dot := func(v any) string {
		h := fmt.Sprint(v)
		if h == "." {
			return h
		}
		return h + "."
	}
	switch r.Type {
	case "A", "AAAA":
	case "TXT":
		if !strings.HasPrefix(in.Content, `"`) {
			return r, fmt.Errorf("TXT content is not quoted")
		}
	case "CNAME", "NS":
		r.Data = dot(in.Content)
	case "MX":
		if in.Priority == nil {
			return r, fmt.Errorf("priority is a required field")
		}
		r.Data = fmt.Sprintf("%d %s", *in.Priority, dot(in.Content))
	case "SRV":
		r.Data = fmt.Sprintf("%v %v %v %s", in.Data["priority"], in.Data["weight"], in.Data["port"], dot(in.Data["target"]))
	case "CAA":
		r.Data = fmt.Sprintf("%v %v %q", in.Data["flags"], in.Data["tag"], in.Data["value"])
	case "TLSA":
		r.Data = fmt.Sprintf("%v %v %v %v", in.Data["usage"], in.Data["selector"], in.Data["matching_type"], in.Data["certificate"])
	default:
		return r, fmt.Errorf("type %s is not known", r.Type)
	}
	return r, nil
}

// batch runs deletes, patches, puts and posts in that order, all or none.
func (s *Server) batch(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Deletes []struct{ ID string }
		Patches []struct {
			ID  string
			TTL uint32
		}
		Puts, Posts []record
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, 9207, err.Error())
		return
	}
	err := s.Store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		at := func(id string) (int, error) {
			i := slices.IndexFunc(list, func(r hostedtest.Record) bool { return r.ID == id })
			if i < 0 {
				return 0, fmt.Errorf("Record does not exist.")
			}
			return i, nil
		}
		for _, d := range body.Deletes {
			i, err := at(d.ID)
			if err != nil {
				return nil, err
			}
			list = slices.Delete(list, i, i+1)
		}
		for _, p := range body.Patches {
			i, err := at(p.ID)
			if err != nil {
				return nil, err
			}
			list[i].TTL = p.TTL
		}
		for _, p := range body.Puts {
			i, err := at(p.ID)
			if err != nil {
				return nil, err
			}
			if list[i], err = s.take(p); err != nil {
				return nil, err
			}
		}
		for _, p := range body.Posts {
			r, err := s.take(p)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
			// Each record is held against those that are there when it comes.
			if why := hostedtest.Invalid(list); why != "" {
				return nil, fmt.Errorf("%s", why)
			}
		}
		if why := hostedtest.Invalid(list); why != "" {
			return nil, fmt.Errorf("%s", why)
		}
		return list, nil
	})
	if err != nil {
		refuse(w, http.StatusBadRequest, 9005, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]any{"success": true, "errors": []any{}, "result": map[string]any{}})
}
