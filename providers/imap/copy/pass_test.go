package copy

import (
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// kinds are the pairs of servers that the same tests run against.
var kinds = map[string]func(testing.TB) (server, server){"memory": memories, "dovecot": dovecots}

func TestCopiesACorpusOnce(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			mails := imaptest.Generate(1, 400)
			src.fill(t, mails)
			b := newBench(t, src, dst, t.TempDir(), nil)
			r := b.pass(providers.BeforeFlip)
			if r.Copied != len(mails) || r.Unchanged != 0 || r.Doubt != 0 || r.Quarantined != 0 {
				t.Errorf("first pass: %+v, want %d copied", r, len(mails))
			}
			b.equal()
			b.sourceTraffic.take()
			b.targetTraffic.take()
			second := b.pass(providers.BeforeFlip)
			if second.Changed() || second.Unchanged != len(mails) {
				t.Errorf("second pass: %+v, want %d unchanged and nothing else", second, len(mails))
			}
			t.Logf("second pass: %d turns at the source, %d at the target", b.sourceTraffic.take(), b.targetTraffic.take())
			c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
			if err != nil || c.Source != len(mails) || c.Target != len(mails) || len(c.Missing) > 0 {
				t.Errorf("compare: %+v, %v", c, err)
			}
		})
	}
}
