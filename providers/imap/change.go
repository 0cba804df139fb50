package imap

import (
	"context"
	"fmt"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Store changes the flags of messages in the folder that is open for writing. mode is "FLAGS"
// (replace), "+FLAGS" or "-FLAGS". \Recent and what is no flag are left out.
func (s *Session) Store(ctx context.Context, set, mode string, flags []string) error {
	return s.each(ctx, set, "set flags in folder", func(set string) *wire.Command {
		return wire.NewCommand("UID STORE").Set(set).Atom(mode + ".SILENT").Flags(settable(flags))
	}, nil)
}

// Move moves messages to another folder in one step (RFC 6851) and returns the new UID of each,
// as far as the server says. Without MOVE it is a Refused error and nothing is done.
func (s *Session) Move(ctx context.Context, set, raw string) (map[uint32]uint32, error) {
	if !s.caps["MOVE"] && !s.caps["IMAP4REV2"] {
		return nil, s.lacks("move messages to", raw, "MOVE")
	}
	return s.transfer(ctx, "UID MOVE", "move messages to", set, raw)
}

// Copy copies messages to another folder and returns the UID of each copy, as far as the server says.
func (s *Session) Copy(ctx context.Context, set, raw string) (map[uint32]uint32, error) {
	return s.transfer(ctx, "UID COPY", "copy messages to", set, raw)
}

func (s *Session) transfer(ctx context.Context, command, op, set, raw string) (map[uint32]uint32, error) {
	moved := map[uint32]uint32{}
	err := s.each(ctx, set, op, func(set string) *wire.Command {
		return wire.NewCommand(command).Set(set).String(raw)
	}, func(st wire.Status) {
		if st.Code == "COPYUID" {
			copied(st, moved)
		}
	})
	return moved, err
}

// Expunge removes those messages of set that are marked \Deleted, and no others
// (UID EXPUNGE, RFC 4315). Without UIDPLUS it is a Refused error and nothing is done, because EXPUNGE
// would remove what others have marked too.
func (s *Session) Expunge(ctx context.Context, set string) error {
	if !s.caps["UIDPLUS"] && !s.caps["IMAP4REV2"] {
		return s.lacks("expunge in folder", s.selected, "UIDPLUS")
	}
	return s.each(ctx, set, "expunge in folder", func(set string) *wire.Command {
		return wire.NewCommand("UID EXPUNGE").Set(set)
	}, nil)
}

func (s *Session) lacks(op, subject, capability string) error {
	return &providers.Error{Op: op, Subject: subject, Reason: providers.Refused,
		Err: fmt.Errorf("%s doesn't offer %s", s.host, capability)}
}

// each runs a command over a set, in pieces where the set is long. codes sees
// every status response, tagged or not: MOVE tells COPYUID untagged.
func (s *Session) each(ctx context.Context, set, op string, command func(set string) *wire.Command, codes func(wire.Status)) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if codes != nil {
		s.untagged = func(resp wire.Response) error {
			codes(resp.Status)
			return nil
		}
	}
	var commands []*wire.Command
	for _, part := range splitSet(set) {
		commands = append(commands, command(part))
	}
	return s.pipeline(feed(commands), op, s.selected, func(_ int, p *pending) error {
		if codes != nil {
			codes(p.status)
		}
		return p.refused()
	})
}
