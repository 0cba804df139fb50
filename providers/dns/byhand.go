package dns

import (
	"context"
	"errors"
	"fmt"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// ByHand is a zone that a person edits in its host's panel. What the zone holds
// is what its name servers say. It is safe for concurrent use.
type ByHand struct {
	Zone    string // canonical
	Domain  string // canonical; the domain whose servers are asked
	Servers *NameServers
}

var _ providers.Zone = (*ByHand)(nil)

// Features implements providers.Zone.
func (z *ByHand) Features() providers.ZoneFeatures { return providers.ZoneFeatures{ByHand: true} }

// Lookup asks the authoritative servers. Where they differ, those with the
// highest serial have the say: the panel wrote it there already.
func (z *ByHand) Lookup(ctx context.Context, name, typ string) (plan.RRset, error) {
	name, _, err := question(name, typ)
	if err != nil {
		return plan.RRset{}, err
	}
	if !within(name, z.Zone) {
		return plan.RRset{}, fmt.Errorf("%s is not in the zone %s", display(name), display(z.Zone))
	}
	return z.Servers.newest(ctx, z.Domain, name, typ)
}

// Records has nothing to list with.
func (z *ByHand) Records(context.Context) ([]plan.RRset, bool, error) { return nil, false, nil }

// Update refuses: a person makes the changes.
func (z *ByHand) Update(context.Context, []plan.RRsetChange) error {
	return &providers.Error{
		Op: opUpdate, Subject: display(z.Zone), Reason: providers.Refused,
		Err:    errors.New("the zone is edited by hand"),
		Remedy: "enter the changes in the panel of the zone's host; mxodus sees when they are there",
	}
}

// Instructions implements providers.Zone, field by field as panels have them.
func (z *ByHand) Instructions(changes []plan.RRsetChange) []string {
	return instructions(z.Zone, changes)
}
