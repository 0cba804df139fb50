package copy

import (
	"maps"
	"testing"

	"github.com/mxodus/mxodus/state/manifest"
)

// TestPairUp: as many messages in doubt as strange ones in a folder that is ours alone are those; in all other cases
// nothing is said of them.
func TestPairUp(t *testing.T) {
	doubt := func(id int64, uid, window uint32) manifest.Message {
		return manifest.Message{ID: id, UID: uid, Window: window}
	}
	for _, c := range []struct {
		name   string
		at     map[int64]uint32
		doubts []manifest.Message
		uids   []uint32
		want   map[int64]uint32
	}{
		{"one", map[int64]uint32{}, []manifest.Message{doubt(1, 10, 5)}, []uint32{6}, map[int64]uint32{1: 6}},
		{"in the order they were sent", map[int64]uint32{}, []manifest.Message{doubt(1, 12, 7), doubt(2, 11, 5), doubt(3, 10, 5)}, []uint32{5, 6, 9}, map[int64]uint32{3: 5, 2: 6, 1: 9}},
		{"besides one that was found", map[int64]uint32{2: 6}, []manifest.Message{doubt(1, 10, 5), doubt(2, 11, 5)}, []uint32{5, 6}, map[int64]uint32{1: 5, 2: 6}},
		{"fewer are there", map[int64]uint32{}, []manifest.Message{doubt(1, 10, 5), doubt(2, 11, 5)}, []uint32{6}, map[int64]uint32{}},
		{"more are there", map[int64]uint32{}, []manifest.Message{doubt(1, 10, 5)}, []uint32{6, 7}, map[int64]uint32{}},
		{"it was there before", map[int64]uint32{}, []manifest.Message{doubt(1, 10, 8)}, []uint32{6}, map[int64]uint32{}},
	} {
		if pairUp(c.at, c.doubts, c.uids); !maps.Equal(c.at, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.at, c.want)
		}
	}
}
