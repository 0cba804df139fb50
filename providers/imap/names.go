package imap

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Inside a level a name may hold the separator of the other side. It can't stand
// there, so a character that looks like it does, and reading the name back
// undoes that: "A/B" in one level is "A∕B" here, and "v1.2" at a server that
// separates levels with "." is "v1․2" there.
const (
	divisionSlash = "\u2215"
	oneDotLeader  = "\u2024"
)

// lookalike stands for the separator d inside a level.
func lookalike(d string) string {
	switch d {
	case "/":
		return divisionSlash
	case ".":
		return oneDotLeader
	}
	return "_"
}

// decodeName makes the UTF-8 name with "/" between levels of a raw one.
func (s *Session) decodeName(raw string) string {
	rest := raw
	if s.prefix != "" && len(raw) > len(s.prefix) && strings.EqualFold(raw[:len(s.prefix)], s.prefix) {
		rest = raw[len(s.prefix):]
	}
	levels := []string{rest}
	if s.delimiter != "" {
		levels = strings.Split(rest, s.delimiter)
	}
	for i, level := range levels {
		name, err := decodeUTF7(level)
		if err != nil {
			name = readable(level)
		}
		switch s.delimiter {
		case "/":
		case ".":
			name = strings.ReplaceAll(name, oneDotLeader, ".")
			fallthrough
		default:
			name = strings.ReplaceAll(name, "/", divisionSlash)
		}
		levels[i] = name
	}
	if strings.EqualFold(levels[0], "INBOX") && (rest == raw || len(levels) == 1) {
		levels[0] = "INBOX" // RFC 3501 §5.1: in any case of letters
	}
	return strings.Join(levels, "/")
}

// readable makes UTF-8 of a name that is no modified UTF-7: UTF-8 stays, other octets are
// taken as Latin-1, which keeps different names different.
func readable(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	runes := make([]rune, len(raw))
	for i := range len(raw) {
		runes[i] = rune(raw[i])
	}
	return string(runes)
}

// WireName makes the name on the wire of a UTF-8 one with "/" between levels: the
// server's separator, the prefix of the personal namespace, modified UTF-7.
// For a folder that exists use ListEntry.Raw: not every raw name can be made again.
func (s *Session) WireName(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	levels := strings.Split(name, "/")
	for i, level := range levels {
		if s.delimiter != "/" {
			level = strings.ReplaceAll(level, divisionSlash, "/")
		}
		if s.delimiter != "" {
			level = strings.ReplaceAll(level, s.delimiter, lookalike(s.delimiter))
		}
		levels[i] = encodeUTF7(level)
	}
	separator := s.delimiter
	if separator == "" {
		separator = "_" // flat names: nothing can be below anything
	}
	return s.prefix + strings.Join(levels, separator)
}

// namespaces asks, in one go, for what names need: the separator, the
// namespaces (RFC 2342), and who the server is (RFC 2971).
func (s *Session) namespaces() error {
	given := s.prefix
	found, answered := "", false
	s.untagged = func(resp wire.Response) error {
		switch resp.Type {
		case "LIST":
			if _, err := s.r.Value(); err != nil {
				return err
			}
			if d, err := s.r.Value(); err != nil {
				return err
			} else if d.Kind == wire.String {
				s.delimiter = d.Text
			}
		case "NAMESPACE":
			var err error
			found, err = s.readNamespaces()
			answered = err == nil
			return err
		case "ENABLED":
			words, err := s.words()
			s.qresync = slices.ContainsFunc(strings.Fields(words), func(w string) bool { return strings.EqualFold(w, "QRESYNC") })
			return err
		case "ID":
			v, err := s.r.Value()
			if err != nil {
				return err
			}
			s.serverID = strings.Join(v.Texts(), " ")
		}
		return nil
	}
	defer func() { s.untagged = nil }()

	var sent []*pending
	var asked *pending
	opening := []struct {
		capability string
		command    *wire.Command
	}{
		{"ID", wire.NewCommand("ID").Atom("NIL")},
		{"NAMESPACE", wire.NewCommand("NAMESPACE")},
		{"", wire.NewCommand("LIST").String("").String("")},
	}
	if s.caps["QRESYNC"] && s.caps["ENABLE"] {
		opening = slices.Insert(opening, 0, opening[0])
		opening[0].capability, opening[0].command = "ENABLE", wire.NewCommand("ENABLE").Atom("QRESYNC")
	}
	for _, c := range opening {
		if c.capability != "" && !s.caps[c.capability] {
			continue
		}
		p, err := s.send(c.command, "log in", s.user+" at "+s.host)
		if err != nil {
			return err
		}
		sent = append(sent, p)
		if c.capability == "NAMESPACE" {
			asked = p
		}
	}
	if s.listAhead {
		l := s.newListing(false)
		if err := l.ask(); err != nil {
			return err
		}
		s.ahead = l
	}
	for i, p := range sent {
		if err := s.await(p); err != nil {
			return err
		}
		// Exchange Online accepts a token and refuses the first command when the account
		// isn't there. ID may fail, LIST may not.
		if err := p.refused(); err != nil && (i == len(sent)-1 || providers.ReasonOf(err) == providers.Authentication && password.MatchString(p.status.Text)) {
			return err
		}
	}
	if asked != nil && !answered && given == "" {
		// Without the prefix every folder would be made in the wrong place.
		err := asked.refused()
		if err == nil {
			err = &providers.Error{Op: "log in", Subject: s.user + " at " + s.host, Reason: providers.Protocol, Err: errors.New("the server has not answered NAMESPACE"),
				Remedy: "should that last, set namespace in the host's block: the prefix of its folders' names, as INBOX."}
		}
		return err
	}
	if s.prefix = found; given != "" {
		s.prefix = given
	}
	if strings.EqualFold(s.prefix, "INBOX") {
		s.prefix += s.delimiter
	}
	return nil
}

// readNamespaces reads "((prefix sep)...) other shared" and returns the personal prefix.
func (s *Session) readNamespaces() (personal string, err error) {
	for i := range 3 {
		v, err := s.r.Value()
		if err != nil {
			return personal, err
		}
		for j, space := range v.List {
			if len(space.List) == 0 {
				continue
			}
			switch prefix := space.List[0].Text; {
			case i > 0 && prefix != "":
				s.foreign = append(s.foreign, prefix)
			case i == 0 && j == 0:
				personal = prefix
				if len(space.List) > 1 && space.List[1].Kind == wire.String {
					s.delimiter = space.List[1].Text
				}
			}
		}
	}
	return personal, nil
}

// personal reports whether a raw name is one of the account's own folders.
func (s *Session) personal(raw string) bool {
	for _, prefix := range s.foreign {
		if strings.HasPrefix(raw, prefix) || raw+s.delimiter == prefix {
			return false
		}
	}
	return true
}
