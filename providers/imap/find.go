package imap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

var _ providers.Finder = Host{}

// Find implements providers.Finder.
func (h Host) Find(ctx context.Context, a providers.Account, q providers.Query) ([]providers.Found, error) {
	s, err := h.Connect(ctx, a)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	entries, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []providers.Found
	for _, e := range entries {
		if !e.Selectable || slices.Contains([]string{`\All`, `\Flagged`, `\Important`}, e.SpecialUse) {
			continue
		}
		found, err := s.findIn(ctx, e, q)
		if s.Err() != nil || err != nil && providers.ReasonOf(err) != providers.NotFound {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// findIn looks in one folder. SEARCH finds substrings, so what comes is looked at again.
func (s *Session) findIn(ctx context.Context, e ListEntry, q providers.Query) ([]providers.Found, error) {
	sel, err := s.Examine(ctx, e.Raw)
	if err != nil || sel.Exists == 0 {
		return nil, err
	}
	key, text := "SUBJECT", q.Subject
	if q.MessageID != "" {
		key, text = "HEADER Message-ID", q.MessageID
	}
	uids, err := s.Search(ctx, key, text)
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	var list []providers.Found
	err = s.FetchBodies(ctx, []string{FormatSet(uids)}, func(m Meta, _ int64, body io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(body, providers.MaxFound))
		if err != nil {
			return err
		}
		if holds(b, q) {
			list = append(list, providers.Found{Folder: e.Name, SpecialUse: e.SpecialUse, UID: m.UID, At: m.InternalDate, Octets: b})
		}
		return nil
	})
	return list, err
}

// holds reports whether a message is what was looked for.
func holds(message []byte, q providers.Query) bool {
	if q.MessageID == "" {
		return true // subjects may be encoded: the server has looked
	}
	header, _, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	return bytes.Contains(header, []byte("<"+q.MessageID+">"))
}

// Search returns the UIDs of the messages of the open folder whose field holds text, in
// ascending order (RFC 3501 §6.4.4). key is SUBJECT or HEADER with a field's name.
func (s *Session) Search(ctx context.Context, key, text string) ([]uint32, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var uids []uint32
	var broken error
	s.untagged = func(resp wire.Response) error {
		if resp.Type != "SEARCH" {
			return nil
		}
		words, err := s.words()
		if err != nil {
			return err
		}
		for _, w := range strings.Fields(words) {
			n, err := strconv.ParseUint(w, 10, 32)
			if err != nil || n == 0 || len(uids) >= maxUIDs {
				broken = &providers.Error{Op: "search in folder", Subject: s.selected, Reason: providers.Protocol, Err: fmt.Errorf("%.40q is no UID", w)}
				continue
			}
			uids = append(uids, uint32(n))
		}
		return nil
	}
	c := wire.NewCommand("UID SEARCH")
	for _, word := range strings.Fields(key) {
		c.Atom(word)
	}
	if err := s.simple(c.String(text), "search in folder", s.selected); err != nil {
		return nil, err
	}
	slices.Sort(uids)
	return slices.Compact(uids), broken
}
