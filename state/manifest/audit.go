package manifest

import (
	"context"
	"strings"
)

// Unaudited returns the target folders that hold messages of ours which nobody has looked at since they were copied.
func (d *DB) Unaudited(ctx context.Context) ([]int64, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT id FROM target t WHERE EXISTS
		(SELECT 1 FROM message m WHERE m.target=t.id AND m.target_uidvalidity=t.uidvalidity AND m.target_uid>t.audited) ORDER BY id`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, d.wrap(err)
		}
		ids = append(ids, id)
	}
	return ids, d.wrap(rows.Err())
}

// Copy is what an audit needs of a message to hold it against what the target says.
type Copy struct {
	ID           int64
	UID          uint32 // at the target
	Size         int64
	InternalDate int64 // seconds since 1970
	Dated        bool
	Flags        string // separated by blanks
	Odd          bool   // its canonical form is another one than its octets
}

// Copies calls fn for at most n messages that are claimed in a target folder at UIDs from one on, in the order of those.
func (d *DB) Copies(ctx context.Context, target int64, uidValidity, from uint32, n int, fn func(Copy) error) error {
	rows, err := d.read.QueryContext(ctx, `SELECT id, target_uid, size, COALESCE(internaldate, 0), internaldate IS NOT NULL, flags, canonical IS NOT NULL FROM message
		WHERE target=? AND target_uidvalidity=? AND target_uid>=? AND state=4 ORDER BY target_uid LIMIT ?`, target, uidValidity, from, n)
	if err != nil {
		return d.wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c Copy
		if err := rows.Scan(&c.ID, &c.UID, &c.Size, &c.InternalDate, &c.Dated, &c.Flags, &c.Odd); err != nil {
			return d.wrap(err)
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return d.wrap(rows.Err())
}

// ClaimsFrom calls fn for at most n messages that are claimed in a target folder at UIDs from one on, in the order of those.
func (d *DB) ClaimsFrom(ctx context.Context, target int64, uidValidity, from uint32, n int, fn func(Message) error) error {
	return d.each(ctx, fn, "target=? AND target_uidvalidity=? AND target_uid>=? AND state=4 ORDER BY target_uid LIMIT ?", target, uidValidity, from, n)
}

// Audit writes what came of looking at a copy. Tier NotRead leaves what is known of the content.
func (t *Tx) Audit(id int64, tier Tier, changed []string) error {
	return t.one("note what the target changed", `UPDATE message SET tier=CASE WHEN ?=0 THEN tier ELSE ? END, changed=? WHERE id=? AND state=4`,
		tier, tier, strings.Join(changed, " "), id)
}

// Tiers is how many messages that the source still has and the target took rest on each tier.
func (d *DB) Tiers(ctx context.Context) (map[Tier]int, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT tier, COUNT(*) FROM message WHERE state=4 AND vanished=0 GROUP BY tier`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	m := map[Tier]int{}
	for rows.Next() {
		var tier Tier
		var n int
		if err := rows.Scan(&tier, &n); err != nil {
			return nil, d.wrap(err)
		}
		m[tier] = n
	}
	return m, d.wrap(rows.Err())
}

// Changes is how many messages that the source still has the target changed, and in how many of them what: by the words without their values.
func (d *DB) Changes(ctx context.Context) (messages int, words map[string]int, err error) {
	rows, err := d.read.QueryContext(ctx, `SELECT changed, COUNT(*) FROM message WHERE changed<>'' AND vanished=0 GROUP BY changed`)
	if err != nil {
		return 0, nil, d.wrap(err)
	}
	defer rows.Close()
	words = map[string]int{}
	for rows.Next() {
		var changed string
		var n int
		if err := rows.Scan(&changed, &n); err != nil {
			return 0, nil, d.wrap(err)
		}
		messages += n
		for _, w := range strings.Fields(changed) {
			w, _, _ = strings.Cut(w, "=")
			words[w] += n
		}
	}
	return messages, words, d.wrap(rows.Err())
}
