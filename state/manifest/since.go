package manifest

import (
	"context"
	"time"
)

// Since calls fn for each message that the source took at t or later and that is settled: claimed,
// or in quarantine. Whole seconds count, as the server tells them.
func (d *DB) Since(ctx context.Context, t time.Time, fn func(Message) error) error {
	return d.each(ctx, fn, "internaldate>=? AND state IN (4, 5) ORDER BY folder, uidvalidity, uid", t.Unix())
}
