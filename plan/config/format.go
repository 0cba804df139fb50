package config

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns src in canonical form: spaces around "=", aligned within a
// group of lines, two columns a level, one newline at the end, LF alone.
// Comments, blank lines between things and the order stay. A file that does
// not parse comes back with diagnostics and without bytes. Formatting twice
// is the same as once.
func Format(filename string, src []byte) ([]byte, hcl.Diagnostics) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	if _, diags := parseSource(filename, src); diags.HasErrors() {
		errs, _ := split(diags)
		return nil, errs
	}
	out := hclwrite.Format(trimBlankLines(filename, src))
	if out = bytes.TrimRight(out, " \t\n"); len(out) > 0 {
		out = append(out, '\n')
	}
	return out, nil
}

// trimBlankLines makes one blank line of several, outside of heredocs and
// other text that means something, and drops those at the begin.
func trimBlankLines(filename string, src []byte) []byte {
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	var out bytes.Buffer
	newlines, last := 2, 0
	for _, t := range tokens {
		between := src[last:t.Range.Start.Byte]
		last = t.Range.End.Byte
		blank := t.Type == hclsyntax.TokenNewline
		switch {
		case blank:
			newlines++
		case t.Type == hclsyntax.TokenComment && bytes.HasSuffix(t.Bytes, []byte("\n")):
			newlines = 1 // such a comment holds the end of its line
		default:
			newlines = 0
		}
		if blank && newlines > 2 {
			continue
		}
		out.Write(between)
		out.Write(src[t.Range.Start.Byte:t.Range.End.Byte])
	}
	out.Write(src[last:])
	return out.Bytes()
}
