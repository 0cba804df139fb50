package copy

import (
	"cmp"
	"slices"

	"github.com/mxodus/mxodus/state/manifest"
)

// found is a message at the target that nobody has claimed.
type found struct {
	UID    uint32
	Digest digest
}

// wanted is a message that may be among the found ones.
type wanted struct {
	ID      int64
	Digest  digest
	Applied bool   // the server has said that it took it
	Window  uint32 // the lowest UID that it can have
}

// optional is a digest that may not be there: then it is zero and equal to none.
func optional(d []byte) (k [32]byte) {
	copy(k[:], d)
	return k
}

func wantedOf(m manifest.Message) wanted {
	w := wanted{ID: m.ID, Applied: m.State == manifest.Applied, Window: m.Window}
	w.Digest.raw = [32]byte(m.Digest)
	w.Digest.canonical = w.Digest.raw
	if m.Canonical != nil {
		w.Digest.canonical = [32]byte(m.Canonical)
	}
	w.Digest.content, w.Digest.gist = m.Content, m.Gist
	return w
}

// match finds for each wanted message a found one of its own with the same
// content, tier by tier: octets first, the gist last. Identical messages are
// matched one to one, as a multiset: k of them need k found ones. No
// message is matched with a UID below its window, because that one was there
// before it was sent.
//
// Messages the server said it took go first, since they must be there: were
// one of them left over, a twin in doubt would be believed to be there that is not.
// Among equals those with the least choice, the highest window, go first and take the lowest UID
// they can: then no other order matches more.
func match(want []wanted, have []found) map[int64]uint32 {
	want, have = slices.Clone(want), slices.Clone(have)
	slices.SortFunc(have, func(a, b found) int { return cmp.Compare(a.UID, b.UID) })
	slices.SortStableFunc(want, func(a, b wanted) int {
		if a.Applied != b.Applied {
			if a.Applied {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Window, a.Window)
	})
	result := map[int64]uint32{}
	used := make([]bool, len(have))
	for _, key := range []func(digest) [32]byte{
		func(d digest) [32]byte { return d.raw },
		func(d digest) [32]byte { return d.canonical },
		func(d digest) [32]byte { return optional(d.content) },
		func(d digest) [32]byte { return optional(d.gist) },
	} {
		index := map[[32]byte][]int{}
		for i, f := range have {
			if k := key(f.Digest); !used[i] && k != [32]byte{} {
				index[k] = append(index[k], i)
			}
		}
		for _, w := range want {
			if _, done := result[w.ID]; done {
				continue
			}
			list := index[key(w.Digest)]
			at := slices.IndexFunc(list, func(i int) bool { return have[i].UID >= w.Window })
			if at < 0 {
				continue
			}
			used[list[at]] = true
			result[w.ID] = have[list[at]].UID
			index[key(w.Digest)] = slices.Delete(list, at, at+1)
		}
	}
	return result
}
