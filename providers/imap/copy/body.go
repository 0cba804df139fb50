package copy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync"
)

const (
	// memoryBudget bounds message octets in memory, over all passes.
	memoryBudget = 12 << 20
	// spoolBudget bounds message octets in spool files, over all passes.
	spoolBudget = 1 << 30
	// spoolFrom is the size from which a message goes through a file.
	spoolFrom = 1 << 20
)

// body is a message between the two sides: in memory, or in a file that has
// no name any more, so that it goes with the process however that ends.
type body struct {
	size   int64
	memory []byte
	file   *os.File
	held   *budget
	cost   int64 // octets of held

	digest digest
	header header
	binary bool // it holds NUL
}

// readBody reads exactly size octets while hashing them, with content also what is needed where messages are rendered anew. The caller closes the body.
func (e *Engine) readBody(ctx context.Context, size int64, r io.Reader, content bool) (b *body, err error) {
	b = &body{size: size}
	defer func() {
		if err != nil {
			b.close()
			b = nil
		}
	}()
	h := newHasher(content)
	if size < spoolFrom {
		b.cost = bufferSize(size)
		if err := e.memory.take(ctx, b.cost); err != nil {
			return b, err
		}
		b.held = e.memory
		b.memory = buffers.get(int(size))
		if _, err := io.ReadFull(r, b.memory); err != nil {
			return b, fmt.Errorf("read a message of %d octets: %w", size, err)
		}
		h.Write(b.memory)
	} else {
		b.cost = size
		if err := e.disk.take(ctx, size); err != nil {
			return b, err
		}
		b.held = e.disk
		if b.file, err = e.spool(); err != nil {
			return b, err
		}
		n, err := io.Copy(io.MultiWriter(b.file, h), r)
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return b, fmt.Errorf("read a message of %d octets, after %d: %w", size, n, err)
		}
	}
	b.digest, b.binary = h.sum(), h.nul
	head := b.memory
	if b.file != nil {
		head = make([]byte, headerKept)
		n, err := b.file.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return b, fmt.Errorf("read a spool file: %w", err)
		}
		head = head[:n]
	}
	b.header = headerOf(head)
	return b, nil
}

// spool opens a file without a name.
func (e *Engine) spool() (*os.File, error) {
	dir, err := e.spoolDir()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "message-*")
	if err != nil {
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	return f, nil
}

// buffers keeps the memory of messages that are gone for those that come: as garbage it
// would be there a second time.
var buffers pool

// pool holds buffers by size, in powers of two.
type pool struct{ sizes [21]sync.Pool }

// bufferSize is how much memory get takes for n octets.
func bufferSize(n int64) int64 { return 1 << bits.Len64(uint64(max(n, 1)-1)) }

// get returns n octets, at most spoolFrom, of any content.
func (p *pool) get(n int) []byte {
	class := bits.Len(uint(max(n, 1) - 1))
	if b, ok := p.sizes[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<class)
}

// put takes back what get gave. Nobody may use it after that.
func (p *pool) put(b []byte) { p.sizes[bits.Len(uint(cap(b)-1))].Put(&b) }

// open returns a new reader over the whole message.
func (b *body) open() io.Reader {
	if b.file != nil {
		return io.NewSectionReader(b.file, 0, b.size)
	}
	return bytes.NewReader(b.memory)
}

// close gives back what the body holds. It may be called twice.
func (b *body) close() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	if b.held != nil {
		b.held.give(b.cost)
		if b.memory != nil {
			buffers.put(b.memory)
		}
		b.held, b.memory = nil, nil
	}
}
