package manifest

import "context"

// occurrences are the messages of a source that shows one message in several folders (Gmail): by the
// number that it has in all of them, which is the one that is copied. The table is made where there is none, so
// it needs no format of its own.
const occurrences = `CREATE TABLE IF NOT EXISTS occurrence (
	number  INTEGER PRIMARY KEY, -- X-GM-MSGID, as a signed number
	message INTEGER NOT NULL REFERENCES message(id)
)`

// Occurrence is what is known of a message by its number.
type Occurrence struct {
	Message  int64
	Vanished int64 // the pass that found it gone from the folder it was copied from, 0 = there
	Placed   bool  // it is claimed, and where is known
}

// Occurrences returns all messages that have a number.
func (d *DB) Occurrences(ctx context.Context) (map[uint64]Occurrence, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT o.number, m.id, m.vanished, m.state=4 AND m.target_uid IS NOT NULL FROM occurrence o JOIN message m ON m.id=o.message`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	all := map[uint64]Occurrence{}
	for rows.Next() {
		var number int64
		var o Occurrence
		if err := rows.Scan(&number, &o.Message, &o.Vanished, &o.Placed); err != nil {
			return nil, d.wrap(err)
		}
		all[uint64(number)] = o
	}
	return all, d.wrap(rows.Err())
}
