// Package digitaloceantest is a double of the domain records of the DigitalOcean API. Only
// tests import it.
package digitaloceantest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
)

// Token is the only token that the double knows.
const Token = "dop_v1_s3cret"

// Server is the double. It serves one zone.
type Server struct {
	*hostedtest.Faults
	Store *hostedtest.Store
	URL   string
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start runs the double until the test ends. zone is canonical.
func Start(tb TB, zone string) *Server {
	tb.Helper()
	s := &Server{Store: hostedtest.NewStore(zone)}
	s.Faults = hostedtest.NewFaults(http.HandlerFunc(s.handle))
	srv := httptest.NewServer(s.Faults)
	s.URL = srv.URL + "/v2"
	tb.Cleanup(srv.Close)
	return s
}

type record struct {
	ID       int64   `json:"id"`
	Type     string  `json:"type"`
	Name     string  `json:"name"`
	Data     string  `json:"data"`
	Priority *int    `json:"priority"`
	Port     *int    `json:"port"`
	TTL      *int64  `json:"ttl"`
	Weight   *int    `json:"weight"`
	Flags    *int    `json:"flags"`
	Tag      *string `json:"tag"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
	}
}

func refuse(w http.ResponseWriter, status int, id, message string) {
	answer(w, status, map[string]string{"id": id, "message": message})
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/domains/"+strings.TrimSuffix(s.Store.Zone, ".")+"/records")
	id := strings.TrimPrefix(rest, "/")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		refuse(w, http.StatusUnauthorized, "unauthorized", "Unable to authenticate you")
	case !ok:
		refuse(w, http.StatusNotFound, "not_found", "The resource you were accessing could not be found.")
	case r.Method == http.MethodGet && id == "":
		s.list(w, r)
	case r.Method == http.MethodPost && id == "":
		s.write(w, r, "")
	case (r.Method == http.MethodPut || r.Method == http.MethodPatch) && id != "":
		s.write(w, r, id)
	case r.Method == http.MethodDelete && id != "":
		s.delete(w, id)
	default:
		refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "")
	}
}

// list gives pages of eight, with a link that leads to another host.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	const perPage = 8
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	all := s.Store.Records()
	list := []record{}
	for _, rec := range all[min((page-1)*perPage, len(all)):min(page*perPage, len(all))] {
		list = append(list, s.show(rec))
	}
	links := map[string]any{}
	if page*perPage < len(all) {
		links["pages"] = map[string]string{"next": fmt.Sprintf("http://elsewhere.invalid/v2/domains?page=%d", page+1)}
	}
	answer(w, http.StatusOK, map[string]any{"domain_records": list, "links": links, "meta": map[string]int{"total": len(all)}})
}

func (s *Server) show(r hostedtest.Record) record {
	id, _ := strconv.ParseInt(r.ID, 10, 64)
	ttl := int64(r.TTL)
	out := record{ID: id, Type: r.Type, Name: "@", Data: r.Data, TTL: &ttl}
	if r.Name != s.Store.Zone {
		out.Name = strings.TrimSuffix(r.Name, "."+s.Store.Zone)
	}
	f := strings.Fields(r.Data)
	number := func(i int) *int { n, _ := strconv.Atoi(f[i]); return &n }
	bare := func(h string) string {
		if h == s.Store.Zone {
			return "@"
		}
		return strings.TrimSuffix(h, ".")
	}
	switch r.Type {
	case "CNAME", "NS":
		out.Data = bare(r.Data)
	case "MX":
		out.Priority, out.Data = number(0), bare(f[1])
	case "SRV":
		out.Priority, out.Weight, out.Port, out.Data = number(0), number(1), number(2), bare(f[3])
	case "CAA":
		out.Flags, out.Tag, out.Data = number(0), &f[1], strings.Trim(f[2], `"`)
	case "TXT":
		if text, err := plan.TXTText(r.Data); err == nil {
			out.Data = text
		}
	}
	return out
}

// take reads a record of a request over one that is there.
func (s *Server) take(in record, r hostedtest.Record) (hostedtest.Record, error) {
	if in.TTL != nil {
		if *in.TTL < 30 {
			return r, fmt.Errorf("TTL must be at least 30 seconds.")
		}
		r.TTL = uint32(*in.TTL)
	} else if r.TTL == 0 {
		r.TTL = 1800
	}
	if in.Type != "" {
		r.Type = in.Type
	}
	if in.Name == "@" {
		r.Name = s.Store.Zone
	} else if in.Name != "" {
		r.Name = in.Name + "." + s.Store.Zone
	}
	if in.Data == "" {
		if r.Data == "" {
			return r, fmt.Errorf("Data can't be blank.")
		}
		return r, nil
	}
	absolute := func() error {
		if !strings.HasSuffix(in.Data, ".") {
			return fmt.Errorf("Data needs to end with a dot (.)")
		}
		return nil
	}
	switch r.Type {
	case "A", "AAAA":
		r.Data = in.Data
		return r, nil
	case "CNAME", "NS":
		r.Data = in.Data
		return r, absolute()
	case "MX":
		if in.Priority == nil || in.Data == "." {
			return r, fmt.Errorf("Priority can't be blank or data is no host.")
		}
		r.Data = fmt.Sprintf("%d %s", *in.Priority, in.Data)
		return r, absolute()
	case "SRV":
		if in.Priority == nil || in.Weight == nil || in.Port == nil {
			return r, fmt.Errorf("Priority, port and weight can't be blank.")
		}
		r.Data = fmt.Sprintf("%d %d %d %s", *in.Priority, *in.Weight, *in.Port, in.Data)
		return r, absolute()
	case "CAA":
		if in.Flags == nil || in.Tag == nil || strings.Contains(in.Data, ";") {
			return r, fmt.Errorf("Flags or tag is missing, or the value invalid.")
		}
		r.Data = fmt.Sprintf("%d %s %q", *in.Flags, *in.Tag, in.Data)
		return r, nil
	case "TXT":
		if len(in.Data) > 512 || strings.Contains(in.Data, `"`) {
			return r, fmt.Errorf("Data is invalid.")
		}
		data, err := plan.CanonicalRdata("TXT", in.Data)
		r.Data = data
		return r, err
	}
	return r, fmt.Errorf("Type is not included in the list.")
}

func (s *Server) write(w http.ResponseWriter, req *http.Request, id string) {
	var in record
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	missing := false
	err := s.Store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		i := slices.IndexFunc(list, func(r hostedtest.Record) bool { return r.ID == id })
		if missing = id != "" && i < 0; missing {
			return list, nil
		}
		if i < 0 {
			i = len(list)
			list = append(list, hostedtest.Record{})
		}
		var err error
		if list[i], err = s.take(in, list[i]); err != nil {
			return nil, err
		}
		if why := hostedtest.Invalid(list); why != "" {
			return nil, fmt.Errorf("%s", why)
		}
		return list, nil
	})
	switch {
	case err != nil:
		refuse(w, http.StatusUnprocessableEntity, "unprocessable_entity", err.Error())
	case missing:
		refuse(w, http.StatusNotFound, "not_found", "The resource you were accessing could not be found.")
	case id == "":
		answer(w, http.StatusCreated, map[string]any{"domain_record": in})
	default:
		answer(w, http.StatusOK, map[string]any{"domain_record": in})
	}
}

func (s *Server) delete(w http.ResponseWriter, id string) {
	found := false
	_ = s.Store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) { // it returns no error
		return slices.DeleteFunc(list, func(r hostedtest.Record) bool {
			found = found || r.ID == id
			return r.ID == id
		}), nil
	})
	if !found {
		refuse(w, http.StatusNotFound, "not_found", "The resource you were accessing could not be found.")
		return
	}
	answer(w, http.StatusNoContent, nil)
}
