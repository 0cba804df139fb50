package copy

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

var _ providers.ArrivalReader = (*Engine)(nil)

// Arrivals implements providers.ArrivalReader.
func (e *Engine) Arrivals(ctx context.Context, m plan.Mailbox, after time.Time, limit int, known func(string, uint32, uint32) bool, fn func(providers.Arrival) error) (err error) {
	db, err := manifest.View(e.ManifestPath(m))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	folders, err := db.Folders(ctx)
	if err != nil {
		return err
	}
	byID := map[int64]manifest.Folder{}
	for _, f := range folders {
		byID[f.ID] = f
	}
	late := map[int64][]providers.Arrival{}
	n := 0
	if err := db.Since(ctx, after, func(row manifest.Message) error {
		f := byID[row.Folder]
		if n >= limit || known(f.Name, row.UIDValidity, row.UID) {
			return nil
		}
		n++
		late[row.Folder] = append(late[row.Folder], providers.Arrival{Folder: f.Name, UIDValidity: row.UIDValidity, UID: row.UID, MessageID: row.MessageID, At: row.InternalDate})
		return nil
	}); err != nil || n == 0 {
		return err
	}
	source, _, err := e.ends(m)
	if err != nil {
		return err
	}
	s, err := source.dial(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for id, list := range late {
		if err := headers(ctx, s, byID[id].Raw, list); err != nil {
			return err
		}
		for _, a := range list {
			if err := fn(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// headers reads the headers of messages of one source folder. Those that are gone since
// keep none, and so do all where the folder has got new UIDs.
func headers(ctx context.Context, s session, raw string, list []providers.Arrival) error {
	sel, err := s.Examine(ctx, raw)
	if s.Err() != nil {
		return err
	}
	if err != nil {
		return nil // the folder is gone
	}
	at := map[uint32]int{}
	var uids []uint32
	for i, a := range list {
		if a.UIDValidity == sel.UIDValidity {
			at[a.UID], uids = i, append(uids, a.UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	return s.FetchMeta(ctx, imap.FormatSet(uids), imap.FetchItems{HeaderFields: []string{"RECEIVED", "FROM"}}, func(m imap.Meta) error {
		if i, ok := at[m.UID]; ok {
			list[i].Header = m.Header
		}
		return nil
	})
}
