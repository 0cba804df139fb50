// Package dkim verifies the signatures of a message (RFC 6376) by itself, so that
// what a receiver says of it needn't be believed. Keys come from the resolver that it is given.
package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Resolver is the part of providers.NameServers that is needed.
type Resolver interface {
	Resolve(ctx context.Context, name, typ string) (providers.Answer, error)
}

// Verifier verifies signatures. It is safe for concurrent use.
type Verifier struct{ Resolver Resolver }

var _ providers.Signatures = Verifier{}

// maxSignatures bounds the look-ups that one message may cause.
const maxSignatures = 10

// Verify implements providers.Signatures.
func (v Verifier) Verify(ctx context.Context, message []byte) ([]providers.Signature, error) {
	found, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{
		MaxVerifications: maxSignatures, LookupTXT: func(name string) ([]string, error) { return v.texts(ctx, name) },
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return nil, fmt.Errorf("verify the DKIM signatures: %w", err)
	}
	list := make([]providers.Signature, len(found))
	for i, f := range found {
		list[i] = providers.Signature{Domain: strings.ToLower(f.Domain), Err: f.Err}
	}
	return list, ctx.Err()
}

// texts are the TXT strings at a name, each RRset entry as one. A name that leads on by a CNAME, as
// hosted selectors do, is followed by the resolver.
func (v Verifier) texts(ctx context.Context, name string) ([]string, error) {
	a, err := v.Resolver.Resolve(ctx, strings.TrimSuffix(name, ".")+".", "TXT")
	switch {
	case err != nil:
		return nil, err
	case a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN":
		return nil, fmt.Errorf("the resolver answers %s for %s TXT", a.Rcode, name)
	}
	var list []string
	for _, data := range a.Set.Data {
		text, err := plan.TXTText(data)
		if err != nil {
			return nil, fmt.Errorf("%s TXT: %w", name, err)
		}
		list = append(list, text)
	}
	return list, nil
}
