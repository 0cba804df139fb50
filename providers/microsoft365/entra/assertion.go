package entra

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the thumbprint that x5t is defined by (RFC 7515 §4.1.7), no signature
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// algorithm signs assertions (RFC 7518 §3.1).
type algorithm string

const (
	ps256 algorithm = "PS256" // what the platform asks for now
	rs256 algorithm = "RS256"
)

// assertionLife is how long an assertion is good for.
const assertionLife = 10 * time.Minute

type certificate struct {
	leaf *x509.Certificate
	key  *rsa.PrivateKey
}

func isPEM(s string) bool { return strings.Contains(s, "-----BEGIN ") }

// parseCertificate reads a PEM file with an RSA key and the certificate that belongs to it, in any order.
func parseCertificate(text string) (certificate, error) {
	var c certificate
	var leaves []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return c, errors.New("its certificate can't be read")
			}
			leaves = append(leaves, cert)
		case strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
			return c, errors.New("its key has a passphrase")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
			}
			rsaKey, ok := key.(*rsa.PrivateKey)
			if err != nil || !ok {
				return c, errors.New("its key is no RSA key, and no other kind is taken")
			}
			c.key = rsaKey
		}
	}
	if c.key == nil {
		return c, errors.New("it holds no private key")
	}
	for _, cert := range leaves {
		if c.key.PublicKey.Equal(cert.PublicKey) {
			c.leaf = cert
			return c, nil
		}
	}
	if len(leaves) == 0 {
		return c, errors.New("it holds no certificate")
	}
	return c, errors.New("its certificate and its key don't belong together")
}

// assertion is a signed statement of who asks, for one request (RFC 7523 §3).
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
func (c certificate) assertion(alg algorithm, clientID, audience string, now time.Time, random io.Reader) (string, error) {
	if now.After(c.leaf.NotAfter) || now.Before(c.leaf.NotBefore) {
		return "", fmt.Errorf("the certificate is good from %s to %s, and it is %s", c.leaf.NotBefore.UTC().Format(time.DateOnly), c.leaf.NotAfter.UTC().Format(time.DateOnly), now.UTC().Format(time.DateTime))
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(random, id); err != nil {
		return "", fmt.Errorf("no randomness for the assertion: %w", err)
	}
	header := map[string]string{"typ": "JWT", "alg": string(alg)}
	if alg == ps256 {
		sum := sha256.Sum256(c.leaf.Raw)
		header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	} else {
		sum := sha1.Sum(c.leaf.Raw) //nolint:gosec // see above
		header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	claims := map[string]any{
		"aud": audience, "iss": clientID, "sub": clientID, "jti": hex.EncodeToString(id),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(assertionLife).Unix(), // clocks differ
	}
	signed := segment(header) + "." + segment(claims)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if alg == ps256 {
		signature, err = rsa.SignPSS(random, c.key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(random, c.key, crypto.SHA256, sum[:])
	}
	if err != nil {
		return "", fmt.Errorf("the assertion can't be signed: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func segment(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("entra: strings and numbers that can't be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
