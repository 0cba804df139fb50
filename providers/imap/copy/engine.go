package copy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// Defaults where a host's configuration says nothing.
const (
	DefaultConnections = 5
	DefaultDoubtGrace  = 120 * time.Second
)

// Options are what an Engine works with.
type Options struct {
	// Source and Target return the dialer of the host with that plan.Host.Key.
	Source, Target func(key string) (*imap.Dialer, error)
	// StateDir holds the manifests, the quarantine and spool files: the
	// migration's .mxodus folder. It is made when it is not there.
	StateDir string
	Clock    providers.Clock
}

// Engine is a providers.Copier over IMAP. It is safe for concurrent use;
// passes over different mailboxes share each host's connections_total.
type Engine struct {
	o            Options
	memory, disk *budget // for messages between the two sides

	around func(done bool) // of tests: see manifest.DB.Around

	mu          sync.Mutex
	slots       map[string]*slots
	paces       map[string]*pace
	throughputs map[string]*throughput
	tempos      map[string]*tempo
}

var _ providers.Copier = (*Engine)(nil)

// New returns an engine. It touches nothing yet.
func New(o Options) *Engine {
	return &Engine{o: o, memory: newBudget(memoryBudget), disk: newBudget(spoolBudget), slots: map[string]*slots{}, paces: map[string]*pace{}, throughputs: map[string]*throughput{}, tempos: map[string]*tempo{}}
}

// ends returns the two sides of a mailbox.
func (e *Engine) ends(m plan.Mailbox) (source, target *end, err error) {
	from, err := e.o.Source(m.From)
	if err != nil {
		return nil, nil, err
	}
	to, err := e.o.Target(m.On)
	if err != nil {
		return nil, nil, err
	}
	// A mailbox's own credentials replace those of both hosts.
	return newEnd("source", from, m.Source, m.Credentials), newEnd("target", to, m.Target, m.Credentials), nil
}

// fileName is how a mailbox is called in the state folder: its source
// address, made safe, and where the target's differs a digest of that.
func fileName(m plan.Mailbox) string {
	var b strings.Builder
	for _, c := range []byte(m.Source) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '@' || c == '-' || c == '_' || c == '+' || c == '.' && b.Len() > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if !strings.EqualFold(m.Source, m.Target) || len(name) > 180 {
		sum := sha256.Sum256([]byte(m.Source + "\x00" + m.Target))
		name = name[:min(len(name), 180)] + "~" + hex.EncodeToString(sum[:4])
	}
	return name
}

// ManifestPath is where the manifest of a mailbox is.
func (e *Engine) ManifestPath(m plan.Mailbox) string {
	return filepath.Join(e.o.StateDir, "manifest", fileName(m)+".db")
}

// QuarantinePath is the folder of a mailbox's refused messages.
func (e *Engine) QuarantinePath(m plan.Mailbox) string {
	return filepath.Join(e.o.StateDir, "quarantine", fileName(m))
}

// slotsOf returns the shared connection slots of an end's host.
func (e *Engine) slotsOf(x *end) *slots {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.slots[x.key]
	if !ok {
		s = newSlots(x.host.Limits.ConnectionsTotal)
		e.slots[x.key] = s
	}
	return s
}

// paceOf returns the shared rate of an end's host, nil = unlimited.
func (e *Engine) paceOf(x *end) *pace {
	l := x.host.Limits
	if l.MessagesPerSecond <= 0 && l.BytesPerSecond <= 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.paces[x.key]
	if !ok {
		p = &pace{clock: e.o.Clock, messages: l.MessagesPerSecond, octets: float64(l.BytesPerSecond)}
		e.paces[x.key] = p
	}
	return p
}

// grace is how long after the end of a connection a message that was on it
// may still appear at the target.
func (x *end) grace() time.Duration {
	if x.host.Limits.DoubtGrace > 0 {
		return x.host.Limits.DoubtGrace
	}
	return DefaultDoubtGrace
}

// connections is how many a pass may have at this end.
func (x *end) connections() int {
	n := x.host.Limits.ConnectionsPerMailbox
	if n <= 0 {
		n = DefaultConnections
	}
	if t := x.host.Limits.ConnectionsTotal; t > 0 {
		n = min(n, t)
	}
	return n
}

// spoolDir makes the folder of large messages in flight.
func (e *Engine) spoolDir() (string, error) {
	dir := filepath.Join(e.o.StateDir, "spool")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the spool folder: %w", err)
	}
	return dir, nil
}
