package copy

import (
	"context"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// Single is a copy of one mailbox without a migration around it. The same
// state folder makes the next run a delta, and resumes one that was killed.
type Single struct {
	Source, Target               *imap.Dialer // credentials are those of their hosts
	SourceAddress, TargetAddress string
	StateDir                     string
	Clock                        providers.Clock
	Deletes                      string // "keep", the default, or "mirror"
	Folders                      plan.FolderRules
	Progress                     func(providers.Progress)
	Stop                         <-chan struct{}
}

// Mailbox is what s is about in the words of a migration, and an engine for it.
func (s Single) Mailbox() (plan.Mailbox, *Engine) {
	m := plan.Mailbox{
		Block: "copy", Kind: plan.UserMailbox, Source: s.SourceAddress, Target: s.TargetAddress,
		From: s.Source.Host.Key(), On: s.Target.Host.Key(), Deletes: s.Deletes, Folders: s.Folders,
	}
	return m, New(Options{
		Source:   func(string) (*imap.Dialer, error) { return s.Source, nil },
		Target:   func(string) (*imap.Dialer, error) { return s.Target, nil },
		StateDir: s.StateDir, Clock: s.Clock,
	})
}

// Run makes one pass. Errors and counts are those of Engine.Pass.
func (s Single) Run(ctx context.Context) (providers.PassResult, error) {
	m, e := s.Mailbox()
	return e.Pass(ctx, providers.PassSpec{Mailbox: m, Mode: providers.BeforeFlip, Asked: true, Progress: s.Progress, Stop: s.Stop})
}
