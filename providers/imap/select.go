package imap

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Selected is what the server says when a folder is opened.
type Selected struct {
	Exists         uint32
	UIDNext        uint32 // 0: not said
	UIDValidity    uint32 // 0: not said; then UIDs mean nothing in the next session
	HighestModSeq  uint64 // 0: no CONDSTORE, or the folder keeps none
	Flags          []string
	PermanentFlags []string // without \*; those of Flags where the server doesn't say (RFC 3501 §7.1)
	AnyKeyword     bool     // \*: new keywords may be made
	ReadOnly       bool
	UIDNotSticky   bool // RFC 4315: UIDs don't last
}

// Examine opens a folder without the right to change it: \Recent stays, nothing is marked
// as read.
func (s *Session) Examine(ctx context.Context, raw string) (Selected, error) {
	return s.open(ctx, "EXAMINE", raw)
}

// Select opens a folder for reading and writing. Selected.ReadOnly says
// whether the server granted that.
func (s *Session) Select(ctx context.Context, raw string) (Selected, error) {
	return s.open(ctx, "SELECT", raw)
}

func (s *Session) open(ctx context.Context, command, raw string) (Selected, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return Selected{}, err
	}
	defer leave()

	var sel Selected
	var permanent bool
	s.exists, s.selected, s.opened = 0, "", true
	s.untagged = func(resp wire.Response) error { return sel.read(s, resp, &permanent) }
	c := wire.NewCommand(command).String(raw)
	if s.condstore() {
		c.Items("CONDSTORE") // RFC 7162 §3.1.8
	}
	p, err := s.send(c, "open folder", raw)
	if err != nil {
		return Selected{}, err
	}
	if err := s.await(p); err != nil {
		return Selected{}, err
	}
	if err := p.refused(); err != nil {
		return Selected{}, err // and no folder is selected any more (RFC 3501 §6.3.1)
	}
	sel.finish(p.status, command == "SELECT", permanent)
	s.selected, s.readOnly = raw, sel.ReadOnly
	return sel, nil
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// Unselect closes the folder and expunges nothing.
func (s *Session) Unselect(ctx context.Context) error {
	if s.selected == "" {
		return nil
	}
	raw := s.selected
	if !s.caps["UNSELECT"] && !s.caps["IMAP4REV2"] && !s.readOnly {
		// CLOSE would expunge (RFC 3501 §6.4.2), unless the folder is open for reading only.
		if _, err := s.Examine(ctx, raw); err != nil {
			return err
		}
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	command := "CLOSE"
	if s.caps["UNSELECT"] || s.caps["IMAP4REV2"] {
		command = "UNSELECT"
	}
	s.selected, s.exists, s.opened = "", 0, false
	return s.simple(wire.NewCommand(command), "close folder", raw)
}

// Noop asks for nothing. It keeps the session alive and proves that it is.
func (s *Session) Noop(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.simple(wire.NewCommand("NOOP"), "talk to", s.host)
}

// Create makes a folder; one that is there already is no error. specialUse
// ("\\Sent", "" = none) is passed on where the server lets it be set (RFC 6154 §3).
func (s *Session) Create(ctx context.Context, raw, specialUse string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	c := wire.NewCommand("CREATE").String(raw)
	if specialUse != "" && s.caps["CREATE-SPECIAL-USE"] {
		err := s.created(c.Items("USE ("+specialUse+")"), raw)
		if err == nil || s.lost != nil {
			return err
		}
		// The server may allow one \Sent only; the folder matters more than its mark.
		c = wire.NewCommand("CREATE").String(raw)
	}
	return s.created(c, raw)
}

func (s *Session) created(c *wire.Command, raw string) error {
	err := s.simple(c, "create folder", raw)
	if err == nil || s.lost != nil || providers.ReasonOf(err) == providers.Conflict {
		if s.lost != nil {
			return s.lost
		}
		return nil
	}
	// Not every server says that the folder exists in words we know: look.
	there := false
	s.untagged = func(resp wire.Response) error {
		if resp.Type != "LIST" {
			return nil
		}
		attributes, _, name, err := s.listed()
		gone := slices.ContainsFunc(attributes, func(a string) bool {
			return strings.EqualFold(a, `\Noselect`) || strings.EqualFold(a, `\NonExistent`)
		})
		there = there || err == nil && name == raw && !gone
		return err
	}
	if strings.ContainsAny(raw, "*%") {
		return err
	}
	if look := s.simple(wire.NewCommand("LIST").String("").String(raw), "look for folder", raw); look != nil && s.lost != nil {
		return look
	}
	if there {
		return nil
	}
	return err
}

// Subscribe subscribes to folders, all in one go. It returns the first refusal
// after all were tried.
func (s *Session) Subscribe(ctx context.Context, raws ...string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var commands []*wire.Command
	for _, raw := range raws {
		commands = append(commands, wire.NewCommand("SUBSCRIBE").String(raw))
	}
	var first error
	err = s.pipeline(feed(commands), "subscribe to a folder of", s.user, func(i int, p *pending) error {
		p.subject = raws[i]
		if first == nil {
			first = p.refused()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return first
}

// Delete deletes a folder with everything in it.
func (s *Session) Delete(ctx context.Context, raw string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.selected == raw {
		s.selected = ""
	}
	return s.simple(wire.NewCommand("DELETE").String(raw), "delete folder", raw)
}
