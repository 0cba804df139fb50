package copy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	rfc5322 "net/mail"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/unicode/norm"
)

// headerKept bounds how much of a message is searched for the fields of its header.
const headerKept = 32 << 10

// header is what people look a message up by. It identifies nothing.
type header struct {
	messageID string // without brackets
	sender    string // address of From, lower case
	subject   []byte // the first octets of its digest: subjects are nobody's business
}

// headerOf reads the beginning of a message.
func headerOf(message []byte) header {
	head := message[:min(len(message), headerKept)]
	for _, end := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(head, []byte(end)); i >= 0 {
			head = head[:i]
		}
	}
	id := strings.TrimSuffix(strings.TrimPrefix(field(head, "message-id:"), "<"), ">")
	h := header{messageID: strings.ToValidUTF8(id[:min(len(id), 998)], "\uFFFD"), sender: senderOf(field(head, "from:"))}
	if subject := field(head, "subject:"); subject != "" {
		h.subject = subjectDigest(subject)
	}
	return h
}

// field is the first field of that name, which is in lower case and ends in a colon, unfolded.
func field(header []byte, name string) string {
	for i := 0; i < len(header); {
		line := header[i:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line = line[:n]
		}
		if len(line) >= len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			rest := string(header[i+len(name):])
			// A folded field goes on in lines that begin with white space (RFC 5322 §2.2.3).
			for j := 0; j < len(rest); j++ {
				if rest[j] == '\n' && (j+1 == len(rest) || rest[j+1] != ' ' && rest[j+1] != '\t') {
					rest = rest[:j]
				}
			}
			return strings.Join(strings.Fields(rest), " ")
		}
		i += len(line) + 1
	}
	return ""
}

var words = mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("charset %q: %w", charset, err)
	}
	return e.NewDecoder().Reader(r), nil
}}

// senderOf is the first address of a From field, in lower case. A field that is no list of
// addresses gives what stands in its brackets.
func senderOf(from string) string {
	if list, err := (&rfc5322.AddressParser{WordDecoder: &words}).ParseList(from); err == nil && len(list) > 0 {
		return strings.ToLower(list[0].Address)
	}
	if _, after, ok := strings.Cut(from, "<"); ok {
		from, _, _ = strings.Cut(after, ">")
	}
	if !strings.Contains(from, "@") || strings.ContainsAny(from, " \t") {
		return ""
	}
	return strings.ToLower(strings.ToValidUTF8(from[:min(len(from), 320)], "\uFFFD"))
}

// subjectDigest digests a subject as people write it again: decoded, in any case, with any white space.
func subjectDigest(subject string) []byte {
	if decoded, err := words.DecodeHeader(subject); err == nil {
		subject = decoded
	}
	subject = cases.Fold().String(norm.NFC.String(strings.Join(strings.Fields(subject), " ")))
	sum := sha256.Sum256([]byte(subject))
	return sum[:8]
}

// SubjectHash is how an exported manifest names a subject: the first 16 hex digits of the
// SHA-256 of its decoded text in NFC, case folded, with single blanks.
func SubjectHash(subject string) string { return hex.EncodeToString(subjectDigest(subject)) }
