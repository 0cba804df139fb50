package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// blockSpec says what may stand in a block.
type blockSpec struct {
	labels   []string        // what each label is
	optional int             // how many of the last labels may be left out
	attrs    map[string]bool // name -> must be there
	free     bool            // any attribute (locals)
	blocks   map[string]*blockSpec
	repeat   bool                  // may come more than once
	kinds    map[string]*blockSpec // by first label, instead of attrs and blocks
}

// spec reads the attributes of a block: "source! wave" are one that must be
// there and one that may.
func spec(attrs string, blocks map[string]*blockSpec) *blockSpec {
	s := &blockSpec{attrs: map[string]bool{}, blocks: blocks}
	for _, a := range strings.Fields(attrs) {
		name, required := strings.CutSuffix(a, "!")
		s.attrs[name] = required
	}
	return s
}

func (s *blockSpec) labelled(labels ...string) *blockSpec {
	s.labels, s.repeat = labels, true
	return s
}

type nested = map[string]*blockSpec

const (
	imapAttrs    = "port tls ca_file username auth credentials namespace "
	limitsAttrs  = "connections_per_mailbox connections_total messages_per_second bytes_per_second max_message_size doubt_grace stall_timeout"
	mailboxAttrs = "for_each source! target! display_name license usage_location wave credentials deletes from on "
	zoneAttrs    = "credentials endpoint authoritative resolver observe "
)

// hostSpec is a source or target; more are the attributes of that role, own
// those that only its IMAP hosts have.
func hostSpec(more, own string) *blockSpec {
	common := func() nested {
		return nested{"limits": spec(limitsAttrs, nil), "oversize": spec("limit action", nil)}
	}
	microsoft := common()
	microsoft["endpoints"] = spec("login graph exchange imap", nil)
	google := common()
	google["endpoints"] = spec("token imap", nil)
	return &blockSpec{
		labels: []string{"kind", "name"}, optional: 1, repeat: true,
		kinds: map[string]*blockSpec{
			"imap":         spec(imapAttrs+"host! "+own+more, common()),
			"ionos":        spec(imapAttrs+"host region "+own+more, common()),
			"microsoft365": spec("tenant! client_id! credentials! cloud exchange ca_file "+more, microsoft),

			"google_workspace": spec("credentials! ca_file "+more, google),
		},
	}
}

func zoneSpec() *blockSpec {
	safety := func() nested { return nested{"safety": spec("max_deletes unmanaged", nil)} }
	rfc2136 := safety()
	rfc2136["key"] = spec("name! algorithm secret!", nil)
	api := func() *blockSpec { return spec(zoneAttrs+"zone", safety()) }
	return &blockSpec{
		labels: []string{"kind", "name"}, optional: 1, repeat: true,
		kinds: map[string]*blockSpec{
			"by_hand":      spec("authoritative resolver observe zone", safety()),
			"rfc2136":      spec(zoneAttrs+"server! zone", rfc2136),
			"ionos":        api(),
			"cloudflare":   api(),
			"hetzner":      api(),
			"digitalocean": api(),
			"powerdns":     api(),
			"libdns":       api(),
		},
	}
}

func mailboxSpec(more string) *blockSpec {
	return spec(mailboxAttrs+more, nested{"folders": spec("include exclude map", nil)}).labelled("name")
}

// language is every block of the language: a closed world.
var language = map[string]*blockSpec{
	"migration": {labels: []string{"name"}, attrs: map[string]bool{"cutover": true, "timezone": false, "required_version": false}},
	"variable":  spec("type default description", nil).labelled("name"),
	"locals":    {free: true, repeat: true},
	"secret":    spec("env file command csv keyring prompt", nil).labelled("name"),
	"source":    hostSpec("retire smtp_probe", ""),
	"target":    hostSpec("smtp_probe", "submission "),
	"dns":       zoneSpec(),
	"smtp":      spec("host! port tls username credentials from! ca_file", nil).labelled("name"),

	"mailbox":           mailboxSpec("kind"),
	"shared_mailbox":    mailboxSpec("full_access send_as"),
	"alias":             spec("for_each address! deliver!", nil).labelled("name"),
	"distribution_list": spec("for_each address! members! external", nil).labelled("name"),
	"forwarder":         spec("for_each address! deliver! keep_copy", nil).labelled("name"),

	"domain": spec("dns mail spf ignore_addresses", nested{
		"ttl":    spec("during restore", nil),
		"record": spec("at values! ttl match keep", nil).labelled("type", "name"),
	}).labelled("domain name"),

	"schedule": spec("", nested{"phase": spec("start until hours repeat gate", nil).labelled("name")}),
	"gate":     spec("require", nested{"approve": spec("by count expires", nil)}).labelled("name"),
	"validation": spec("max_difference sample", nested{
		"probe": spec("imap! smtp! credentials! expect timeout", nil).labelled("name"),
	}),
	"notify": spec("at on to subject template via url", nil).labelled("name"),
}

// checkBody holds a block's attributes and blocks against s; what names the
// block in messages: `a mailbox block`.
func (l *loader) checkBody(body *hclsyntax.Body, s *blockSpec, what string, header hcl.Range) {
	for _, a := range attributes(body) {
		if _, known := s.attrs[a.Name]; known || s.free {
			continue
		}
		if _, block := s.blocks[a.Name]; block {
			l.errorf(&a.NameRange, "Block written as an attribute",
				"%q is a block of %s: write %s { … } without \"=\".", a.Name, what, a.Name)
			continue
		}
		l.errorf(&a.NameRange, "Unknown attribute", "%s has no attribute %q.%s", capital(what), a.Name,
			suggest(a.Name, slices.Concat(keysOf(s.attrs), keysOf(s.blocks))))
	}
	for _, name := range slices.Sorted(maps.Keys(s.attrs)) {
		if _, there := body.Attributes[name]; s.attrs[name] && !there {
			l.errorf(&header, "Missing attribute", "%s needs %q.", capital(what), name)
		}
	}
	once := map[string]*hclsyntax.Block{}
	for _, b := range body.Blocks {
		bs, known := s.blocks[b.Type]
		if !known {
			if _, attr := s.attrs[b.Type]; attr {
				l.errorf(&b.TypeRange, "Attribute written as a block", "%q is an attribute of %s: write %s = …", b.Type, what, b.Type)
				continue
			}
			l.errorf(&b.TypeRange, "Unknown block", "%s has no block %q.%s", capital(what), b.Type,
				suggest(b.Type, slices.Concat(keysOf(s.blocks), keysOf(s.attrs))))
			continue
		}
		l.checkBlock(b, bs, once)
	}
}

// checkBlock holds one block against its spec. once remembers blocks that may
// come only once, and labels that have been used, within one body.
func (l *loader) checkBlock(b *hclsyntax.Block, s *blockSpec, once map[string]*hclsyntax.Block) {
	header := b.DefRange()
	if len(b.Labels) > len(s.labels) {
		l.errorf(&b.LabelRanges[len(s.labels)], "Label too many", "%s block has %s.", capital(article(b.Type)), labelWords(s))
		return
	}
	if len(b.Labels) < len(s.labels)-s.optional {
		l.errorf(&header, "Missing label", "%s block has %s.", capital(article(b.Type)), labelWords(s))
		return
	}
	id := b.Type
	if s.repeat {
		id += "\x00" + strings.Join(b.Labels, "\x00")
	}
	if first := once[id]; first != nil && (!s.repeat || len(s.labels) > 0) {
		at := first.DefRange()
		l.errorf(&header, "Duplicate block", "This block is there already at %s:%d: put both into one, or give it another name.",
			at.Filename, at.Start.Line)
		return
	}
	once[id] = b
	what := article(b.Type) + " block"
	if s.kinds != nil {
		kind := b.Labels[0]
		ks, known := s.kinds[kind]
		if !known {
			l.errorf(&b.LabelRanges[0], "Unknown kind", "There is no %s of kind %q.%s", b.Type, kind, suggest(kind, keysOf(s.kinds)))
			return
		}
		s, what = ks, article(b.Type)+" of kind "+kind
	}
	l.checkBody(b.Body, s, what, header)
}

// specOf is the spec that a block is held against.
func specOf(b *hclsyntax.Block) *blockSpec {
	s := language[b.Type]
	if s.kinds != nil {
		return s.kinds[b.Labels[0]]
	}
	return s
}

// article is the name of a block with "a" or "an" before it.
func article(name string) string {
	if name == "smtp" || strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func labelWords(s *blockSpec) string {
	switch {
	case len(s.labels) == 0:
		return "no label"
	case s.optional > 0:
		return "a label, its " + s.labels[0] + ", and a second one, its " + s.labels[1] + ", where there are several of that kind"
	case len(s.labels) == 2:
		return "two labels, its " + s.labels[0] + " and its " + s.labels[1]
	}
	return "one label, its " + s.labels[0]
}

// attributes returns a body's attributes in the order they are written.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(body.Attributes), func(a, b *hclsyntax.Attribute) int {
		return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte
	})
}

func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
