package draft

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/mxodus/mxodus/plan"
)

// TestHostileNames: whatever a server calls its folders, the draft is HCL that
// holds them as text and nothing more.
func TestHostileNames(t *testing.T) {
	m := &plan.Migration{Targets: []plan.Host{{Kind: "microsoft365"}}}
	names := []string{"a  ${file(\"x\")}", "b \"\n}\ndomain \"evil\" {} #", "%{ if true }  x", "Spam\nexclude = []", "c\u202e  d", `back\slash  `, "UPPER", "upper"}
	box := Mailbox{Address: "a@b.example"}
	for _, n := range names {
		box.Folders = append(box.Folders, Folder{Name: n, SpecialUse: map[bool]string{true: `\Junk`}[strings.HasPrefix(n, "Spam")]})
	}
	src := HCL(m, Seen{Mailboxes: []Mailbox{box}, Domains: []Domain{{Name: "b.example", Sets: []plan.RRset{
		{Name: "b.example.", Type: "TXT", TTL: 1, Data: []string{"\"x\n}\nrecord\""}}}}}})
	f, diags := hclsyntax.ParseConfig(src, "draft.mx.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%v\n%s", diags, src)
	}
	blocks := f.Body.(*hclsyntax.Body).Blocks
	if len(blocks) != 2 || blocks[0].Type != "mailbox" || blocks[1].Type != "domain" {
		t.Fatalf("blocks of a folder's name:\n%s", src)
	}
	attr := blocks[0].Body.Blocks[0].Body.Attributes["map"]
	v, diags := attr.Expr.Value(nil)
	if diags.HasErrors() {
		t.Fatalf("%v\n%s", diags, src)
	}
	got := v.AsValueMap()
	for _, n := range names[:3] {
		to, ok := got[n]
		if !ok || strings.Contains(to.AsString(), "  ") {
			t.Errorf("%q is not in the map:\n%s", n, src)
		}
	}
	if got["upper"].AsString() != "upper (2)" {
		t.Errorf("UPPER and upper fall together:\n%s", src)
	}
	if len(blocks[0].Body.Blocks[0].Body.Attributes) != 1 {
		t.Errorf("a comment became an attribute:\n%s", src)
	}
}

// TestNextSPF: the old host's senders go, the new one's come, everybody else stays.
func TestNextSPF(t *testing.T) {
	for _, tc := range []struct{ kind, have, want string }{
		{"google_workspace", `"v=spf1 include:_spf-eu.ionos.com include:shop.example ~all"`, "v=spf1 include:_spf.google.com include:shop.example ~all"},
		{"imap", `"v=spf1 mx include:_spf.kundenserver.de -all"`, "v=spf1 mx -all"},
		{"ionos", `"V=SPF1 ip4:192.0.2.1 ?all"`, "v=spf1 include:_spf-eu.ionos.com ip4:192.0.2.1 ?all"},
		{"imap", `"v=spf10 x"`, ""},
		{"imap", `"site-verification=1"`, ""},
	} {
		if got := nextSPF(plan.Host{Kind: tc.kind}, plan.RRset{Data: []string{`"other"`, tc.have}}); got != tc.want {
			t.Errorf("%s, %s: got %q, want %q", tc.kind, tc.have, got, tc.want)
		}
	}
}

// TestFormulasAreNoAliases: whoever sends mail to an address that a spreadsheet runs doesn't get it into a table.
func TestFormulasAreNoAliases(t *testing.T) {
	m := &plan.Migration{}
	seen := Seen{Mailboxes: []Mailbox{{Address: "a@b.example", Recipients: map[string]int{`=cmd|'/c_calc'!a@b.example`: 9, "+49@b.example": 2, "old@b.example": 1}}}}
	list := Addresses(m, seen)
	if len(list) != 3 {
		t.Fatalf("got %v", list)
	}
	if text := string(AliasTable(list)); text != "alias,address,messages,of them there\nold@b.example,a@b.example,1,1\n" {
		t.Errorf("got %s", text)
	}
}

// TestNothingToDraft: what is declared needs no draft, and what is missing in a declared
// domain stands as a comment.
func TestNothingToDraft(t *testing.T) {
	m := &plan.Migration{Targets: []plan.Host{{Kind: "imap", Hostname: "imap.new.example"}}, Mailboxes: []plan.Mailbox{{Kind: plan.UserMailbox, Source: "a@b.example", Target: "a@b.example"}},
		Domains: []plan.Domain{{Name: "b.example", Records: []plan.Record{{Type: "MX", Name: "@"}, {Type: "TXT", Name: "@"}, {Type: "TXT", Name: "_dmarc"}}}}}
	seen := Seen{Mailboxes: []Mailbox{{Address: "a@b.example", Declared: true, Recipients: map[string]int{"A@b.example": 3}}}, Domains: []Domain{{Name: "b.example", Declared: true}}}
	if src := HCL(m, seen); src != nil {
		t.Errorf("got %s", src)
	}
	if list := Addresses(m, seen); len(list) != 0 || AliasTable(list) != nil || MailboxTable(seen) != nil {
		t.Errorf("got %v", list)
	}
	m.Domains[0].Records = nil
	src := string(HCL(m, seen))
	if !strings.Contains(src, `#   values = ["10 imap.new.example."]`) {
		t.Errorf("got %s", src)
	}
	f, diags := hclsyntax.ParseConfig([]byte(src), "x", hcl.InitialPos)
	if diags.HasErrors() || len(f.Body.(*hclsyntax.Body).Blocks) != 0 {
		t.Errorf("%v\n%s", diags, src)
	}
}
