package render

import (
	"fmt"
	"strings"
	"time"
)

// RecordServers is how far one record of the flip has come into the world.
type RecordServers struct {
	Step    string
	Servers []ServerStatus
}

// ServerStatus is what one name server, or resolver, said last of a record.
type ServerStatus struct {
	Server   string
	Resolver bool
	State    string    // "converged", "slow", "lagging", "lying", "ahead", "lame", "failing", "silent"
	Since    time.Time // since when it serves what is wanted; zero: it doesn't
	At       time.Time // when it said so
	Serves   []string
	Words    string
}

// servers shows which server has the records of the flip. What is everywhere takes one line.
func (t *statusText) servers() {
	if len(t.s.Servers) == 0 {
		return
	}
	t.heading("Name servers", "")
	for _, r := range t.s.Servers {
		n, last := 0, time.Time{}
		for _, s := range r.Servers {
			if !s.Since.IsZero() {
				n++
				if s.Since.After(last) {
					last = s.Since
				}
			}
		}
		line := fmt.Sprintf("%s   %d of %s", t.esc(r.Step), n, plural(len(r.Servers), "server", "servers"))
		if n == len(r.Servers) {
			t.para("", "  "+t.paint(green, pad(t.yes, 2)), line+" since "+t.cal.full(last))
			continue
		}
		t.para("", "  "+t.paint(yellow, pad(t.flip, 2)), line)
		for _, s := range r.Servers {
			if s.Since.IsZero() {
				t.para(dim, "        ", t.esc(s.line()))
			}
		}
	}
}

func (s ServerStatus) line() string {
	name := s.Server
	if s.Resolver {
		name = "resolver " + name
	}
	said := s.Words
	if said == "" {
		said = strings.Join(s.Serves, ", ")
	}
	if said == "" {
		said = "no such record"
	}
	return name + " is " + s.State + ": " + said
}

type serverJSON struct {
	Step      string     `json:"step"`
	Server    string     `json:"server"`
	Resolver  bool       `json:"resolver"`
	State     string     `json:"state"`
	Converged bool       `json:"converged"`
	Since     *time.Time `json:"since,omitempty"`
	At        time.Time  `json:"at"`
	Serves    []string   `json:"serves"`
}

func serversJSON(records []RecordServers) []serverJSON {
	out := []serverJSON{}
	for _, r := range records {
		for _, s := range r.Servers {
			j := serverJSON{Step: r.Step, Server: s.Server, Resolver: s.Resolver, State: s.State, Converged: !s.Since.IsZero(), At: s.At.UTC(), Serves: list(s.Serves)}
			if j.Converged {
				since := s.Since.UTC()
				j.Since = &since
			}
			out = append(out, j)
		}
	}
	return out
}
