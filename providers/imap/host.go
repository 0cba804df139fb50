package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// Host is a mail host that is reached by IMAP.
type Host struct {
	*Dialer
}

var _ providers.MailHost = Host{}

// Login logs in and out.
func (h Host) Login(ctx context.Context, a providers.Account) error {
	return h.patiently(ctx, func() error {
		s, err := h.Connect(ctx, a)
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// How often a question is asked again that the host wants asked later, and the longest time that
// is waited for that.
const (
	patience     = 5
	longestPause = time.Minute
)

// patiently does something that only reads, and again after the time that the host named.
func (h Host) patiently(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Reason != providers.Throttled || e.Wait <= 0 || e.Wait > longestPause || try == patience || h.Clock == nil {
			return err
		}
		if err := h.Clock.Sleep(ctx, e.Wait); err != nil {
			return err
		}
	}
}

// Folders lists the account's folders by LIST and STATUS. Largest is not known.
func (h Host) Folders(ctx context.Context, a providers.Account) (folders []providers.Folder, err error) {
	err = h.patiently(ctx, func() error {
		folders, err = h.folders(ctx, a)
		return err
	})
	return folders, err
}

func (h Host) folders(ctx context.Context, a providers.Account) ([]providers.Folder, error) {
	s, err := h.Connect(ctx, a)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	entries, err := s.ListSizes(ctx)
	if err != nil {
		return nil, err
	}
	folders := make([]providers.Folder, 0, len(entries))
	for _, e := range entries {
		if IsStaging(e.Name) {
			continue
		}
		f := providers.Folder{Name: e.Name, Octets: -1, Largest: -1, SpecialUse: e.SpecialUse, Subscribed: e.Subscribed, Selectable: e.Selectable}
		if st := e.Status; st != nil {
			f.UIDValidity, f.UIDNext, f.Messages, f.Octets = st.UIDValidity, st.UIDNext, st.Messages, st.Size
			if st.Messages == 0 {
				f.Octets, f.Largest = 0, 0
			}
		}
		folders = append(folders, f)
	}
	return folders, nil
}

// Recipients reads the header fields Delivered-To, X-Original-To,
// Envelope-To, To and Cc of the newest messages (highest UIDs) of each folder. Addresses come
// back in lower case. A folder that can't be opened is left out: what is found is
// evidence, and never proof of absence.
func (h Host) Recipients(ctx context.Context, a providers.Account, domains []string, limit int) (found map[string]int, err error) {
	err = h.patiently(ctx, func() error {
		found, err = h.recipients(ctx, a, domains, limit)
		return err
	})
	return found, err
}

func (h Host) recipients(ctx context.Context, a providers.Account, domains []string, limit int) (map[string]int, error) {
	s, err := h.Connect(ctx, a)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	entries, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, e := range entries {
		if !e.Selectable || e.Status != nil && e.Status.Messages == 0 {
			continue
		}
		sel, err := s.Examine(ctx, e.Raw)
		if s.Err() != nil {
			return nil, err
		}
		if err != nil || sel.Exists == 0 {
			continue
		}
		set, err := s.newest(ctx, sel, limit)
		if err != nil {
			return nil, err
		}
		if set == "" {
			continue
		}
		err = s.FetchMeta(ctx, set, FetchItems{HeaderFields: recipientFields}, func(m Meta) error {
			for _, address := range recipients(m.Header) {
				_, domain, _ := strings.Cut(address, "@")
				if slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) }) {
					found[address]++
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// newest is the set of the limit highest UIDs of the open folder, "" when there are none.
func (s *Session) newest(ctx context.Context, sel Selected, limit int) (string, error) {
	if limit <= 0 {
		return "", nil
	}
	if uint64(sel.Exists) <= uint64(limit) {
		return "1:*", nil
	}
	// The UIDs of all would do too; but where none are missing, the last ones are enough.
	from := uint32(1)
	if sel.UIDNext > uint32(limit)*4 {
		from = sel.UIDNext - uint32(limit)*4
	}
	for {
		var uids []uint32
		err := s.FetchMeta(ctx, fmt.Sprintf("%d:*", from), FetchItems{}, func(m Meta) error {
			if uids = append(uids, m.UID); len(uids) > 2*limit {
				slices.Sort(uids)
				uids = slices.Delete(uids, 0, len(uids)-limit)
			}
			return nil
		})
		if err != nil || len(uids) >= limit || from == 1 {
			slices.Sort(uids)
			return FormatSet(uids[max(0, len(uids)-limit):]), err
		}
		from = 1
	}
}
