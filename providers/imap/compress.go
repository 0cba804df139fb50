package imap

import (
	"bufio"
	"compress/flate"
	"context"
	"time"

	"github.com/mxodus/mxodus/providers/imap/wire"
)

// far is the round trip from which a server is taken to be behind a line that is slower than compressing: below, both are in one building.
const far = 5 * time.Millisecond

// buffered is how many octets a session gathers in each direction.
const buffered = 64 << 10

// Compress has all that follows compressed (COMPRESS=DEFLATE, RFC 4978), where the server offers that and is some way off. It costs one round
// trip and is for who is about to move many octets; called again it does nothing. A server that refuses is used as it is.
//
// Whether it pays: see docs/opinions.md.
func (s *Session) Compress(ctx context.Context) error {
	if s.deflate != nil || !s.caps["COMPRESS=DEFLATE"] || s.distance < far {
		return nil
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.simple(wire.NewCommand("COMPRESS").Atom("DEFLATE"), "compress", s.user+" at "+s.host); err != nil {
		return s.lost
	}
	// The octets behind the answer are in br already, or still to come; flate reads no more of it than it needs.
	s.r = wire.NewReader(bufio.NewReaderSize(flate.NewReader(s.br), buffered), wire.Limits{})
	if s.deflate, err = flate.NewWriter(s.conn, flate.BestSpeed); err != nil {
		return s.fail(err)
	}
	s.w.Reset(s.deflate)
	return nil
}

// push sends what is buffered.
func (s *Session) push() error {
	if err := s.w.Flush(); err != nil || s.deflate == nil {
		return err
	}
	return s.deflate.Flush()
}
