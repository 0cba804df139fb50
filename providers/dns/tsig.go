package dns

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

// fudge is how many seconds both clocks may be apart (RFC 8945 §10).
const fudge = 300

// tsigKey signs messages (RFC 8945). The secret lives in memory only.
type tsigKey struct {
	name      string           // canonical
	algorithm string           // canonical
	secret    providers.Secret // base64
}

func (k *tsigKey) secrets() map[string]string { return map[string]string{k.name: k.secret.Reveal()} }

func (k *tsigKey) sign(m *dns.Msg, now time.Time) {
	if k != nil {
		m.SetTsig(k.name, k.algorithm, fudge, now.Unix())
	}
}

// algorithm is the name on the wire. The MD5 of RFC 2845 is left out on purpose
// (RFC 8945 §6: it must not be used).
func algorithm(name string) (string, error) {
	switch a := strings.TrimSuffix(strings.ToLower(name), "."); a {
	case "":
		return dns.HmacSHA256, nil
	case "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512":
		return a + ".", nil
	}
	return "", fmt.Errorf("%q is no TSIG algorithm that is known here: hmac-sha256 is the usual one; hmac-sha224, hmac-sha384, hmac-sha512 and hmac-sha1 are the others", name)
}

// key resolves the secret; nil when the zone is configured without a key.
func (z *RFC2136) key(ctx context.Context) (*tsigKey, error) {
	if z.KeyName == "" {
		return nil, nil
	}
	alg, err := algorithm(z.Algorithm)
	if err != nil {
		return nil, err
	}
	if z.Credentials.IsZero() || z.Secrets == nil {
		return nil, fmt.Errorf("the TSIG key %s has no secret: name one in the key block", z.KeyName)
	}
	resolved, err := z.Secrets.Resolve(ctx, z.Credentials, "")
	if err != nil {
		return nil, err
	}
	secret := strings.TrimSpace(resolved.Reveal())
	// The decoder's own error quotes nothing, but says where in the secret it
	// stumbled: left out all the same.
	if raw, err := base64.StdEncoding.DecodeString(secret); err != nil || len(raw) == 0 {
		return nil, &providers.Error{
			Op: "sign for", Subject: display(z.Zone), Reason: providers.Authentication,
			Err:    fmt.Errorf("%s is no base64 text, as TSIG secrets are", z.Credentials),
			Remedy: "take the text between the quotes after \"secret\" in the server's key file",
		}
	}
	return &tsigKey{name: z.KeyName, algorithm: alg, secret: providers.Keep(secret)}, nil
}

// signed tells whether r carries a right signature of k; err is what exchange
// returned beside it. Without a key every answer does. A signature by another algorithm is none, whoever made
// it (RFC 8945 §5.3): the library takes what the answer names.
func (k *tsigKey) signed(r *dns.Msg, err error) bool {
	if k == nil {
		return true
	}
	t := r.IsTsig()
	return err == nil && t != nil && dns.CanonicalName(t.Hdr.Name) == k.name && dns.CanonicalName(t.Algorithm) == k.algorithm
}

// signatureError is what the server, or our own check, has against a signature;
// nil when nothing, or when nothing was to be signed.
func (z *RFC2136) signatureError(op string, k *tsigKey, r *dns.Msg, err error) error {
	if k == nil {
		return nil
	}
	e := &providers.Error{Op: op, Subject: z.subject(), Reason: providers.Authentication}
	if t := r.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
		e.Server = fmt.Sprintf("%s (%s)", rcode(r), dns.RcodeToString[int(t.Error)])
		switch t.Error {
		case dns.RcodeBadKey:
			e.Remedy = fmt.Sprintf("the server does not know the key %s with %s: compare name and algorithm with its key file", z.KeyName, strings.TrimSuffix(k.algorithm, "."))
		case dns.RcodeBadSig:
			e.Remedy = fmt.Sprintf("the secret of the key %s is not the server's: compare %s with its key file", z.KeyName, z.Credentials)
		case dns.RcodeBadTime:
			e.Remedy = "set this machine's clock and the server's: signatures are good for five minutes" + clocks(t)
		default:
			e.Remedy = fmt.Sprintf("the server refuses the signature by %s with %s: its log says why", z.KeyName, strings.TrimSuffix(k.algorithm, "."))
		}
		return e
	}
	// The library looks at no signature of a NOTAUTH, whose TSIG had nothing to say above:
	// the server isn't the zone's.
	if k.signed(r, err) || errors.Is(err, dns.ErrAuth) {
		return nil
	}
	if err != nil || !refusesUnsigned(r.Rcode) {
		e.Reason, e.Err = providers.Protocol, errors.New("the answer's signature is missing or wrong")
		e.Remedy = fmt.Sprintf("see whether something between here and %s changes messages", z.Server)
		return e
	}
	return nil
}

// refusesUnsigned reports whether a server says so before it looks at a signature (RFC 8945 §5.3.2). Every other answer says
// something about the zone, NXDOMAIN too, and whoever stands in between could say it.
func refusesUnsigned(rcode int) bool {
	switch rcode {
	case dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused, dns.RcodeNotAuth:
		return true
	}
	return false
}

// clocks tells both times of a BADTIME answer (RFC 8945 §5.2.3).
func clocks(t *dns.TSIG) string {
	raw, err := hex.DecodeString(t.OtherData)
	if err != nil || len(raw) != 6 {
		return ""
	}
	server := time.Unix(int64(binary.BigEndian.Uint64(append([]byte{0, 0}, raw...))), 0)
	return fmt.Sprintf(" (here %s, there %s)", time.Unix(int64(t.TimeSigned), 0).UTC().Format(time.RFC3339), server.UTC().Format(time.RFC3339))
}
