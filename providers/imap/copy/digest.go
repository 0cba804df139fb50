package copy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/mxodus/mxodus/state/manifest"
)

// digest is what a message's content is known by. The octets are the first
// tier. The canonical form is the second, for servers that keep the content and not
// the octets: line ends are CRLF, and NUL is 0x80 (Dovecot stores a NUL
// so; APPEND a message with one and fetch it back to see it).
//
// content and gist are for servers that render messages anew (contentHasher): the rest of the second tier and the third. They
// cost as much as everything else together and are computed where they are needed, nil elsewhere.
type digest struct {
	raw, canonical [32]byte
	content, gist  []byte
}

// tierOf is how closely a message that was read back is equal to its original.
func tierOf(original, back digest) manifest.Tier {
	same := func(a, b []byte) bool { return a != nil && bytes.Equal(a, b) }
	switch {
	case original.raw == back.raw:
		return manifest.SameOctets
	case original.canonical == back.canonical, same(original.content, back.content):
		return manifest.SameContent
	case same(original.gist, back.gist):
		return manifest.SameGist
	}
	return manifest.OtherContent
}

// hex names the message's file in quarantine.
func (d digest) hex() string { return hex.EncodeToString(d.raw[:]) }

// rewritten is the canonical digest where it differs, else nil.
func (d digest) rewritten() []byte {
	if d.raw == d.canonical {
		return nil
	}
	return d.canonical[:]
}

// hasher computes a digest while octets pass. Most messages are canonical
// already, so the second hash begins at the first octet that isn't.
type hasher struct {
	raw, canonical hash.Hash
	last           byte
	nul            bool           // one has passed
	content        *contentHasher // nil = not wanted
}

func newHasher(content bool) *hasher {
	h := &hasher{raw: sha256.New()}
	if content {
		h.content = newContentHasher()
	}
	return h
}

// Write takes the next octets. It never fails.
func (h *hasher) Write(p []byte) (int, error) {
	if h.content != nil {
		h.content.Write(p)
	}
	begin := 0 // what of p has gone into both hashes
	nul := bytes.IndexByte(p, 0)
	h.nul = h.nul || nul >= 0
	for i := 0; i < len(p); i++ {
		next := bytes.IndexByte(p[i:], '\n')
		if next < 0 {
			next = len(p) - i
		}
		if nul >= i && nul < i+next {
			next = nul - i
		}
		if i += next; i == len(p) {
			break
		}
		c := p[i]
		if c == 0 {
			if nul = bytes.IndexByte(p[i+1:], 0); nul >= 0 {
				nul += i + 1
			}
		}
		before := h.last
		if i > 0 {
			before = p[i-1]
		}
		if c == '\n' && before == '\r' {
			continue
		}
		h.raw.Write(p[begin:i])
		if h.canonical == nil {
			h.canonical = h.fork()
		} else {
			h.canonical.Write(p[begin:i])
		}
		h.raw.Write(p[i : i+1])
		if c == 0 {
			h.canonical.Write([]byte{0x80})
		} else {
			h.canonical.Write([]byte("\r\n"))
		}
		begin = i + 1
	}
	h.raw.Write(p[begin:])
	if h.canonical != nil {
		h.canonical.Write(p[begin:])
	}
	if len(p) > 0 {
		h.last = p[len(p)-1]
	}
	return len(p), nil
}

// fork copies the state of the first hash.
func (h *hasher) fork() hash.Hash {
	c, err := h.raw.(hash.Cloner).Clone()
	if err != nil {
		panic(fmt.Sprintf("copy: SHA-256 can't be cloned: %v", err))
	}
	return c
}

func (h *hasher) sum() digest {
	var d digest
	h.raw.Sum(d.raw[:0])
	d.canonical = d.raw
	if h.canonical != nil {
		h.canonical.Sum(d.canonical[:0])
	}
	if h.content != nil {
		d.content, d.gist = h.content.sums()
	}
	return d
}
