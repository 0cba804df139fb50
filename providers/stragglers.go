package providers

import (
	"context"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Arrival is a message that reached the source, with what its servers wrote into its header.
type Arrival struct {
	Folder      string // at the source, UTF-8
	UIDValidity uint32
	UID         uint32
	MessageID   string    // with its brackets, as sent; "" = none
	At          time.Time // when the source took it
	Header      []byte    // its Received and From fields; nil where the source no longer has it
}

// ArrivalReader is a Copier that can tell what reached the source late.
type ArrivalReader interface {
	// Arrivals calls fn for each message that the manifest has as copied or refused and that
	// the source took at after or later, but for those that known knows. It reads the headers by
	// EXAMINE. At most limit messages are told.
	Arrivals(ctx context.Context, m plan.Mailbox, after time.Time, limit int, known func(folder string, uidValidity, uid uint32) bool, fn func(Arrival) error) error
}
