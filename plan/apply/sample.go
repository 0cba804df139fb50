package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// sample are the mailboxes that the configuration wants to be looked at more
// closely, each once, by address.
func (e *Engine) sample() []plan.Mailbox {
	sizes := map[string]int{}
	var open []plan.Mailbox
	for _, m := range e.Migration.Mailboxes {
		if !e.Record.Closed(m.Source) {
			open = append(open, m)
		}
		// What the last pass before the flip saw: it doesn't change any more.
		r := e.Record.State("copy/" + m.Source).Result
		sizes[m.Source] = r.Copied + r.Unchanged
	}
	return sampled(open, e.Migration.Validation.Sampled(), sizes, e.Plan.Digest)
}

// sampled chooses from list. Whoever is chosen at random is decided by the plan's digest: by
// nobody, and the same for everybody who looks.
func sampled(list []plan.Mailbox, words []string, sizes map[string]int, digest string) []plan.Mailbox {
	if len(list) == 0 {
		return nil
	}
	bySize := slices.SortedStableFunc(slices.Values(list), func(a, b plan.Mailbox) int {
		if d := sizes[b.Source] - sizes[a.Source]; d != 0 {
			return d
		}
		return strings.Compare(a.Source, b.Source)
	})
	chosen := map[string]bool{}
	random := 0
	for _, w := range words {
		count, isRandom := strings.CutPrefix(w, "random:")
		switch {
		case isRandom:
			n, err := strconv.Atoi(count)
			if err == nil {
				random = max(random, n)
			}
		case w == "heaviest":
			chosen[bySize[0].Source] = true
		case w == "lightest":
			chosen[bySize[len(bySize)-1].Source] = true
		default:
			for _, m := range list {
				if w == "catch_all" && m.Kind == plan.CatchAllMailbox || strings.EqualFold(w, m.Source) || strings.EqualFold(w, m.Target) {
					chosen[m.Source] = true
				}
			}
		}
	}
	rank := func(m plan.Mailbox) string {
		sum := sha256.Sum256([]byte(digest + "\n" + m.Source))
		return hex.EncodeToString(sum[:])
	}
	for _, m := range slices.SortedFunc(slices.Values(list), func(a, b plan.Mailbox) int { return strings.Compare(rank(a), rank(b)) }) {
		if random > 0 && !chosen[m.Source] {
			chosen[m.Source] = true
			random--
		}
	}
	var out []plan.Mailbox
	for _, m := range list {
		if chosen[m.Source] {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b plan.Mailbox) int { return strings.Compare(a.Source, b.Source) })
	return out
}
