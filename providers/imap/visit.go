package imap

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Visit is a folder that is opened and what is asked or done there. Many of them go
// over the line at once (Session.Visit), so that their number costs no round trips.
//
// The functions run while answers are read and must not use the session.
type Visit struct {
	Raw   string
	Write bool // SELECT; else EXAMINE

	// At most one of these.
	List   *List
	Bodies *Bodies
	Change *Change

	// Opened, when set, is called with what the server says of the folder, before any data of the visit. Its error makes
	// the visit void: data is passed over, and Done gets the error. What Change does can't be held back any more.
	Opened func(Selected) error
	// Done is called when everything of the visit was answered. A refusal of the server is a
	// *providers.Error; it concerns this visit alone.
	Done func(error)
}

// List asks for messages without their octets, as FetchMeta does. Queries are of UIDs.
type List struct {
	Queries []Query
	Items   FetchItems // of all of them; ChangedSince is the queries' own
	Each    func(Meta) error
	// Vanished, when set, is called with ranges of UIDs, among the queries' with ChangedSince, that are there no more: at least those of messages
	// expunged since then. It is called only where the server offers QRESYNC (RFC 7162 §3.2.6).
	Vanished func(from, to uint32) error
}

// Query is one set of a List.
type Query struct {
	Set          string
	ChangedSince uint64 // RFC 7162; 0 = all
}

// Bodies asks for messages with their octets, as FetchBodies does.
type Bodies struct {
	Sets []string
	Each func(m Meta, size int64, body io.Reader) error
}

// Change does something to messages of a folder that is open for writing.
type Change struct {
	Stores  []FlagStore
	Move    []Transfer // needs MOVE
	Copy    []Transfer
	Expunge string // set; UID EXPUNGE, needs UIDPLUS; after Stores
	// Moved is called with the new UID of each message that was moved or copied, as far as the server says, and
	// the UIDVALIDITY that it has there.
	Moved func(to string, uidValidity uint32, uids map[uint32]uint32)
}

// FlagStore adds or removes flags: Mode is "+FLAGS" or "-FLAGS".
type FlagStore struct {
	Set, Mode string
	Flags     []string
}

// Transfer moves messages to the folder To.
type Transfer struct{ Set, To string }

// step is what a visit does in its folder: commands, and what their answers mean.
type step interface {
	command() (*wire.Command, error) // the next one, nil = no more
	data(wire.Response) error
	answered(*pending)
	finish() error // when all is answered
}

// call is a command of a visit on its way.
type call struct {
	*pending
	visit *visiting
	open  bool // SELECT or EXAMINE
	last  bool // of the visit
}

// visiting is a Visit under way.
type visiting struct {
	*Visit
	op        string
	step      step
	sel       Selected
	permanent bool
	err       error // first refusal, or that of Opened
}

// Visit goes through the folders that next returns, until it returns nil. Commands are sent
// ahead of the answers as far as a server can be expected to take them (RFC
// 3501 §5.5: SELECT and EXAMINE are carried out when all before them is, so what comes
// between two of their answers belongs to the folder of the first).
//
// The error is a *LostError, or that of ctx; then Done was not called for visits that were not
// finished. Errors of single visits go to their Done.
func (s *Session) Visit(ctx context.Context, next func() *Visit) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var queue []call
	octets := 0
	s.untagged = func(resp wire.Response) error {
		// A command that is answered already has no more data to come.
		for i := range queue {
			if !queue[i].done {
				return queue[i].visit.data(s, queue[i].open, resp)
			}
		}
		return nil
	}
	take := func() error {
		c := queue[0]
		if err := s.await(c.pending); err != nil && !c.done {
			return err
		}
		queue, octets = queue[1:], octets-c.octets
		c.visit.took(s, c)
		return s.lost
	}
	send := func(v *visiting, c *wire.Command, op string, open, last bool) error {
		for len(queue) > 0 && octets >= window {
			if err := take(); err != nil {
				return err
			}
		}
		// The call has to be in the queue before a response can come for it.
		queue = append(queue, call{pending: &pending{}, visit: v, open: open, last: last})
		at := len(queue) - 1
		p, err := s.send(c, op, v.Raw)
		if err != nil && s.lost != nil {
			return err
		}
		if err != nil { // the command can't be written: nothing was sent
			p = &pending{done: true, status: wire.Status{Kind: "OK"}}
			v.refuse(err)
		}
		queue[at].pending = p
		octets += p.octets
		return nil
	}
	for {
		visit := next()
		if visit == nil {
			break
		}
		v := &visiting{Visit: visit}
		v.prepare(s)
		command := "EXAMINE"
		if v.Write {
			command = "SELECT"
		}
		c := wire.NewCommand(command).String(v.Raw)
		if s.condstore() {
			c.Items("CONDSTORE")
		}
		// A server that refuses to open a folder, as one that throttles does, may leave open the one before; what is meant
		// for this folder must not reach that one.
		alone := v.Change == nil || !s.opened
		if !alone && (s.caps["UNSELECT"] || s.caps["IMAP4REV2"]) {
			if err := send(&visiting{Visit: &Visit{Raw: v.Raw}}, wire.NewCommand("UNSELECT"), "close folder", false, true); err != nil {
				return err
			}
			alone = true
		}
		s.opened = true
		more, stepErr := v.nextCommand()
		if err := send(v, c, "open folder", true, more == nil); err != nil {
			return err
		}
		for !alone && more != nil && len(queue) > 0 {
			if err := take(); err != nil {
				return err
			}
		}
		if !alone && v.err != nil {
			if v.Done != nil {
				v.Done(v.err)
			}
			continue
		}
		for more != nil {
			this := more
			if more, err = v.nextCommand(); err != nil {
				stepErr = err
			}
			if err := send(v, this, v.op, false, more == nil); err != nil {
				return err
			}
		}
		if stepErr != nil {
			v.refuse(stepErr)
		}
	}
	for len(queue) > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	s.selected, s.exists = "", 0
	return nil
}

// nextCommand is that of the step, nil when there is none.
func (v *visiting) nextCommand() (*wire.Command, error) {
	if v.step == nil {
		return nil, nil
	}
	return v.step.command()
}

func (v *visiting) prepare(s *Session) {
	switch {
	case v.List != nil:
		v.op, v.step = "read folder", newListing(s, v.Raw, v.List)
	case v.Bodies != nil:
		v.op, v.step = "fetch from folder", newReading(s, v.Raw, v.Bodies)
	case v.Change != nil:
		v.op, v.step = "change messages in folder", &changing{s: s, c: v.Change}
	}
}

func (v *visiting) refuse(err error) {
	if v.err == nil {
		v.err = err
	}
}

// data hands a response to the opening of the folder or to what is done there.
func (v *visiting) data(s *Session, open bool, resp wire.Response) error {
	switch {
	case open:
		return v.sel.read(s, resp, &v.permanent)
	case v.step == nil || v.err != nil:
		return nil // passed over
	}
	return v.step.data(resp)
}

// took takes note of an answer.
func (v *visiting) took(s *Session, c call) {
	refusal := c.refused()
	if c.open {
		if refusal == nil {
			v.sel.finish(c.status, v.Write, v.permanent)
			if v.Opened != nil {
				refusal = v.Opened(v.sel)
			}
		}
	} else if v.step != nil && v.err == nil {
		v.step.answered(c.pending)
	}
	if refusal != nil {
		v.refuse(refusal)
	}
	if !c.last {
		return
	}
	if v.err == nil && v.step != nil {
		v.refuse(v.step.finish())
	} else if r, ok := v.step.(*reading); ok {
		r.drop()
	}
	if v.Done != nil {
		v.Done(v.err)
	}
}

// read takes note of what is said while a folder is opened.
func (sel *Selected) read(s *Session, resp wire.Response, permanent *bool) error {
	st := resp.Status
	switch {
	case resp.Type == "EXISTS":
		sel.Exists = resp.Number
	case resp.Type == "FLAGS":
		v, err := s.r.Value()
		if err != nil {
			return err
		}
		sel.Flags = v.Texts()
	case st.Kind != "OK":
	case st.Code == "UIDVALIDITY":
		sel.UIDValidity = number(st.Args)
	case st.Code == "UIDNEXT":
		sel.UIDNext = number(st.Args)
	case st.Code == "HIGHESTMODSEQ":
		sel.HighestModSeq, _ = strconv.ParseUint(st.Args, 10, 64)
	case st.Code == "UIDNOTSTICKY":
		sel.UIDNotSticky = true
	case st.Code == "PERMANENTFLAGS":
		*permanent = true
		sel.PermanentFlags = strings.Fields(strings.Trim(st.Args, "()"))
	}
	return nil
}

// finish reads the tagged answer.
func (sel *Selected) finish(st wire.Status, write, permanent bool) {
	sel.ReadOnly = !write || st.Code == "READ-ONLY"
	if !permanent {
		// All flags can be kept then (RFC 3501 §7.1). FLAGS may name only those in use (go-imap's server).
		sel.PermanentFlags = slices.Clone(sel.Flags)
		for _, f := range []string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`} {
			if !slices.ContainsFunc(sel.PermanentFlags, func(have string) bool { return strings.EqualFold(have, f) }) {
				sel.PermanentFlags = append(sel.PermanentFlags, f)
			}
		}
	}
	sel.AnyKeyword = slices.Contains(sel.PermanentFlags, `\*`)
	sel.PermanentFlags = settable(sel.PermanentFlags)
}

// CreateAll makes folders, all in one go, and calls done with each one's refusal, nil where it was made. Unlike Create
// it takes a folder that is there already for a refusal.
func (s *Session) CreateAll(ctx context.Context, raws []string, done func(i int, err error)) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	commands := make([]*wire.Command, len(raws))
	for i, raw := range raws {
		commands[i] = wire.NewCommand("CREATE").String(raw)
	}
	return s.pipeline(feed(commands), "create folder", "", func(i int, p *pending) error {
		p.subject = raws[i]
		done(i, p.refused())
		return nil
	})
}

// changing is the step of a Change.
type changing struct {
	s    *Session
	c    *Change
	next []*wire.Command
	made bool
	sent []string // folder of each command, "" = no move
	seen int

	validity uint32
	uids     map[uint32]uint32
}

func (x *changing) command() (*wire.Command, error) {
	if !x.made {
		x.made = true
		add := func(c *wire.Command, to string) {
			x.next, x.sent = append(x.next, c), append(x.sent, to)
		}
		for _, st := range x.c.Stores {
			for _, set := range splitSet(st.Set) {
				add(wire.NewCommand("UID STORE").Set(set).Atom(st.Mode+".SILENT").Flags(settable(st.Flags)), "")
			}
		}
		if len(x.c.Move) > 0 && !x.s.caps["MOVE"] && !x.s.caps["IMAP4REV2"] {
			return nil, x.s.lacks("move messages from", x.s.selected, "MOVE")
		}
		for _, m := range x.c.Move {
			for _, set := range splitSet(m.Set) {
				add(wire.NewCommand("UID MOVE").Set(set).String(m.To), m.To)
			}
		}
		for _, m := range x.c.Copy {
			for _, set := range splitSet(m.Set) {
				add(wire.NewCommand("UID COPY").Set(set).String(m.To), m.To)
			}
		}
		if x.c.Expunge != "" {
			if !x.s.caps["UIDPLUS"] && !x.s.caps["IMAP4REV2"] {
				return nil, x.s.lacks("expunge in", x.s.selected, "UIDPLUS")
			}
			for _, set := range splitSet(x.c.Expunge) {
				add(wire.NewCommand("UID EXPUNGE").Set(set), "")
			}
		}
	}
	if len(x.next) == 0 {
		return nil, nil
	}
	c := x.next[0]
	x.next = x.next[1:]
	return c, nil
}

// data sees COPYUID, which MOVE tells untagged (RFC 6851 §4.3), while its command is under way.
func (x *changing) data(resp wire.Response) error {
	x.code(resp.Status)
	return nil
}

func (x *changing) code(st wire.Status) {
	if st.Code != "COPYUID" {
		return
	}
	if x.uids == nil {
		x.uids = map[uint32]uint32{}
	}
	x.validity = copied(st, x.uids)
}

func (x *changing) answered(p *pending) {
	x.code(p.status)
	to := x.sent[x.seen]
	x.seen++
	if to != "" && x.c.Moved != nil && len(x.uids) > 0 {
		x.c.Moved(to, x.validity, x.uids)
	}
	x.uids = nil
}

func (x *changing) finish() error { return nil }

// copied reads a COPYUID (RFC 4315 §3): UIDVALIDITY, the old UIDs, the new ones, pairwise. It
// returns the UIDVALIDITY, 0 where it can't be read.
func copied(st wire.Status, uids map[uint32]uint32) uint32 {
	fields := strings.Fields(st.Args)
	if len(fields) != 3 {
		return 0
	}
	from, err1 := expand(fields[1])
	to, err2 := expand(fields[2])
	if err1 != nil || err2 != nil || len(from) != len(to) {
		return 0
	}
	for i := range from {
		uids[from[i]] = to[i]
	}
	return number(fields[0])
}

// lacksCondstore is the refusal of a question that the server can't answer.
func (s *Session) lacksCondstore(raw string) error {
	return &providers.Error{Op: "read folder", Subject: raw, Reason: providers.Refused,
		Err: fmt.Errorf("%s doesn't offer CONDSTORE, so changes since a MODSEQ can't be asked for", s.host)}
}
