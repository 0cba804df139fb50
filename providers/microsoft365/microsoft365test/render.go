package microsoft365test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"strings"
)

// Render is what Exchange gives back for a message that it has taken apart and
// put together again: the same content in other octets. Header fields are folded anew, fields of its
// own are there, multiparts have other boundaries, base64 has other lines, and a message ends with a
// line end. What can't be taken apart comes back as it was.
func Render(octets []byte) []byte {
	out, ok := renderPart(octets, true)
	if !ok {
		return octets
	}
	return out
}

func renderPart(octets []byte, top bool) ([]byte, bool) {
	header, body, ok := bytes.Cut(octets, []byte("\r\n\r\n"))
	if !ok || bytes.HasPrefix(octets, []byte("\r\n")) {
		return nil, false
	}
	fields, ok := unfold(header)
	if !ok {
		return nil, false
	}
	kind, params, _ := mime.ParseMediaType(value(fields, "Content-Type"))
	encoding := strings.ToLower(strings.TrimSpace(value(fields, "Content-Transfer-Encoding")))
	switch boundary := params["boundary"]; {
	case strings.HasPrefix(kind, "multipart/") && boundary != "":
		sum := sha256.Sum256([]byte(boundary))
		other := "_000_" + hex.EncodeToString(sum[:12]) + "acmeexample_"
		if body, ok = renderParts(body, boundary, other); !ok {
			return nil, false
		}
		for i, f := range fields {
			if strings.EqualFold(f.name, "Content-Type") {
				// The parameter, not what else in the field spells like it.
				at := strings.Index(strings.ToLower(f.value), "boundary")
				if at < 0 {
					return nil, false
				}
				fields[i].value = f.value[:at] + "boundary" + strings.Replace(f.value[at+len("boundary"):], boundary, other, 1)
			}
		}
	case encoding == "base64":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), ""))
		if err != nil {
			return nil, false
		}
		text := base64.StdEncoding.EncodeToString(raw)
		var lines bytes.Buffer
		for len(text) > 60 {
			lines.WriteString(text[:60] + "\r\n")
			text = text[60:]
		}
		lines.WriteString(text + "\r\n")
		body = lines.Bytes()
	}
	var out bytes.Buffer
	for _, f := range fields {
		out.WriteString(fold(f.name + ":" + f.value))
	}
	if top {
		out.WriteString("X-MS-Exchange-Organization-SCL: -1\r\nX-MS-Exchange-Transport-FromEntityHeader: Hosted\r\n")
	}
	out.WriteString("\r\n")
	out.Write(body)
	if top && !bytes.HasSuffix(body, []byte("\r\n")) {
		out.WriteString("\r\n")
	}
	return out.Bytes(), true
}

type headerField struct{ name, value string }

func value(fields []headerField, name string) string {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

func unfold(header []byte) ([]headerField, bool) {
	var fields []headerField
	for line := range strings.SplitSeq(string(header), "\r\n") {
		if strings.ContainsAny(line, "\r\n\x00") {
			return nil, false
		}
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			if len(fields) == 0 {
				return nil, false
			}
			fields[len(fields)-1].value += line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") || name == "" {
			return nil, false
		}
		fields = append(fields, headerField{name, value})
	}
	return fields, true
}

// fold breaks a field before the last blank of its first 60 characters (RFC 5322 §2.2.3), and so on.
func fold(field string) string {
	var out strings.Builder
	for len(field) > 60 {
		at := strings.LastIndexAny(field[:60], " \t")
		if at < 20 || strings.TrimSpace(field[:at]) == "" || strings.TrimSpace(field[at:]) == "" {
			break
		}
		out.WriteString(field[:at] + "\r\n")
		field = field[at:]
	}
	return out.String() + field + "\r\n"
}

// renderParts gives the parts of a multipart body another boundary.
func renderParts(body []byte, boundary, other string) ([]byte, bool) {
	whole := append([]byte("\r\n"), body...)
	pieces := bytes.Split(whole, []byte("\r\n--"+boundary))
	if len(pieces) < 3 || !bytes.HasPrefix(pieces[len(pieces)-1], []byte("--")) {
		return nil, false
	}
	out := bytes.Clone(pieces[0])
	for i, piece := range pieces[1:] {
		out = append(out, "\r\n--"+other...)
		inner, found := bytes.CutPrefix(piece, []byte("\r\n"))
		if i == len(pieces)-2 || !found {
			if !found && i < len(pieces)-2 {
				return nil, false // another boundary that begins with this one
			}
			out = append(out, piece...)
			continue
		}
		out = append(out, "\r\n"...)
		if rendered, ok := renderPart(inner, false); ok {
			inner = bytes.TrimSuffix(rendered, []byte("\r\n"))
		}
		out = append(out, inner...)
	}
	return bytes.TrimPrefix(out, []byte("\r\n")), true
}
