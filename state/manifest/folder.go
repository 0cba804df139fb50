package manifest

import (
	"context"
	"database/sql"
	"time"
)

// Numbers are what STATUS and SELECT say about a folder. HighestModSeq is 0
// where the server has none (RFC 7162 §3.1.2.2).
type Numbers struct {
	UIDValidity, UIDNext, Messages uint32
	HighestModSeq                  uint64
}

// Target is a folder at the target. Baseline is what it held before our
// first write: those messages are never touched and never claimed.
type Target struct {
	ID       int64
	Raw      string // the name on the wire
	Name     string
	Numbers  Numbers // at the end of the last finished pass
	Baseline Numbers // without HighestModSeq
	Audited  uint32  // messages of ours up to this UID were looked at after they were copied
}

// Folder is a folder at the source. Raw is its identity.
type Folder struct {
	ID         int64
	Raw        string
	Name       string
	Target     int64   // 0 = none yet
	Numbers    Numbers // as of the last pass that finished this folder
	Complete   bool    // that pass settled everything these numbers stand for
	Subscribed bool    // the subscription was carried over
}

// Targets returns all target folders, by name on the wire.
func (d *DB) Targets(ctx context.Context) (map[string]Target, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT id, raw, name, uidvalidity, uidnext, messages, modseq, base_uidvalidity, base_uidnext, base_messages, audited FROM target`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	m := map[string]Target{}
	for rows.Next() {
		var t Target
		if err := rows.Scan(&t.ID, &t.Raw, &t.Name, &t.Numbers.UIDValidity, &t.Numbers.UIDNext, &t.Numbers.Messages, &t.Numbers.HighestModSeq,
			&t.Baseline.UIDValidity, &t.Baseline.UIDNext, &t.Baseline.Messages, &t.Audited); err != nil {
			return nil, d.wrap(err)
		}
		m[t.Raw] = t
	}
	return m, d.wrap(rows.Err())
}

// Folders returns all source folders, by name on the wire.
func (d *DB) Folders(ctx context.Context) (map[string]Folder, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT id, raw, name, COALESCE(target, 0), uidvalidity, uidnext, messages, modseq, complete, subscribed FROM folder`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	m := map[string]Folder{}
	for rows.Next() {
		var f Folder
		if err := rows.Scan(&f.ID, &f.Raw, &f.Name, &f.Target, &f.Numbers.UIDValidity, &f.Numbers.UIDNext, &f.Numbers.Messages, &f.Numbers.HighestModSeq,
			&f.Complete, &f.Subscribed); err != nil {
			return nil, d.wrap(err)
		}
		m[f.Raw] = f
	}
	return m, d.wrap(rows.Err())
}

// PutTarget saves t; a target without ID is made and gets one. The baseline
// is written once and never changed.
func (t *Tx) PutTarget(v *Target) error {
	n := v.Numbers
	if v.ID != 0 {
		return t.one("save a target folder", `UPDATE target SET name=?, uidvalidity=?, uidnext=?, messages=?, modseq=?, audited=? WHERE id=?`,
			v.Name, n.UIDValidity, n.UIDNext, n.Messages, int64(n.HighestModSeq), v.Audited, v.ID)
	}
	res, err := t.tx.Exec(`INSERT INTO target(raw, name, uidvalidity, uidnext, messages, modseq, base_uidvalidity, base_uidnext, base_messages) VALUES (?,?,?,?,?,?,?,?,?)`,
		v.Raw, v.Name, n.UIDValidity, n.UIDNext, n.Messages, int64(n.HighestModSeq), v.Baseline.UIDValidity, v.Baseline.UIDNext, v.Baseline.Messages)
	if err != nil {
		return t.d.wrap(err)
	}
	v.ID, err = res.LastInsertId()
	return t.d.wrap(err)
}

// PutFolder saves f; a folder without ID is made and gets one.
func (t *Tx) PutFolder(v *Folder) error {
	n := v.Numbers
	target := sql.NullInt64{Int64: v.Target, Valid: v.Target != 0}
	if v.ID != 0 {
		return t.one("save a folder", `UPDATE folder SET name=?, target=?, uidvalidity=?, uidnext=?, messages=?, modseq=?, complete=?, subscribed=? WHERE id=?`,
			v.Name, target, n.UIDValidity, n.UIDNext, n.Messages, int64(n.HighestModSeq), v.Complete, v.Subscribed, v.ID)
	}
	res, err := t.tx.Exec(`INSERT INTO folder(raw, name, target, uidvalidity, uidnext, messages, modseq, complete, subscribed) VALUES (?,?,?,?,?,?,?,?,?)`,
		v.Raw, v.Name, target, n.UIDValidity, n.UIDNext, n.Messages, int64(n.HighestModSeq), v.Complete, v.Subscribed)
	if err != nil {
		return t.d.wrap(err)
	}
	v.ID, err = res.LastInsertId()
	return t.d.wrap(err)
}

// BeginPass notes the start of a pass and returns its number and the number
// of the last pass that finished, 0 when none has.
func (d *DB) BeginPass(ctx context.Context, mode string, at time.Time) (number, finished int64, err error) {
	err = d.Update(ctx, func(t *Tx) error {
		if err := t.tx.QueryRow(`SELECT COALESCE(MAX(number), 0) FROM pass WHERE finished IS NOT NULL`).Scan(&finished); err != nil {
			return d.wrap(err)
		}
		res, err := t.tx.Exec(`INSERT INTO pass(mode, began) VALUES (?,?)`, mode, at.UnixNano())
		if err != nil {
			return d.wrap(err)
		}
		number, err = res.LastInsertId()
		return d.wrap(err)
	})
	return number, finished, err
}

// FinishPass notes that pass number came to its end, with its result as JSON.
func (t *Tx) FinishPass(number int64, at time.Time, result string) error {
	return t.one("finish a pass", `UPDATE pass SET finished=?, result=? WHERE number=?`, at.UnixNano(), result, number)
}
