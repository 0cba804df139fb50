package config

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/plan"
)

// Everything that the loader accepts is described, and nothing else.
func TestReferenceIsComplete(t *testing.T) {
	blocks, attrs := map[string]bool{}, map[string]map[string]bool{}
	var walk func(path, kind string, s *blockSpec)
	walk = func(path, kind string, s *blockSpec) {
		key := docKey(path)
		name := key
		if kind != "" {
			name = path + " " + kind
		} else if !strings.Contains(path, ".") {
			name = path
		}
		if path == "shared_mailbox" {
			name = "mailbox"
		}
		blocks[name] = true
		if attrs[key] == nil {
			attrs[key] = map[string]bool{}
		}
		for a := range s.attrs {
			attrs[key][a] = true
			if d := attributeTexts[key][a]; d.typ == "" {
				t.Errorf("%s has no description of %q", key, a)
			}
			if s.attrs[a] && attributeTexts[key][a].def != "" {
				t.Errorf("%s: %q has to be written and has a default", key, a)
			}
		}
		for b, nested := range s.blocks {
			walk(path+"."+b, "", nested)
		}
	}
	for typ, s := range language {
		if !slices.Contains(blockOrder, typ) {
			t.Errorf("the block %s is in no order", typ)
		}
		if s.kinds == nil {
			walk(typ, "", s)
			continue
		}
		for kind, ks := range s.kinds {
			walk(typ, kind, ks)
		}
	}
	for name := range blocks {
		if nested := !strings.Contains(name, " ") && strings.HasPrefix(name, "mailbox."); blockTexts[name] == "" && !nested {
			t.Errorf("block %q has no description", name)
		}
	}
	for name := range blockTexts {
		if !blocks[name] && name != "source microsoft365" {
			t.Errorf("block %q is described and not there", name)
		}
	}
	for key, texts := range attributeTexts {
		for a := range texts {
			if !attrs[key][a] {
				t.Errorf("%s: %q is described and not there", key, a)
			}
		}
	}
	functions := (&loader{reader: newReader(nil)}).functions()
	for _, name := range slices.Concat(keysOf(functions), keysOf(functionTexts)) {
		if _, ok := functions[name]; !ok || functionTexts[name] == "" {
			t.Errorf("function %q is not both there and described", name)
		}
	}
}

// samples are the least that a block of each description needs. MARK is
// replaced by the attribute that is tried.
var samples = map[string]string{
	"migration":         "",
	"host":              "source \"ionos\" \"x\" {\n  credentials = secret.s\n  MARK\n}",
	"host.limits":       "target \"imap\" \"x\" {\n  host = \"h.example\"\n  credentials = secret.s\n  limits {\n    MARK\n  }\n}",
	"host.oversize":     "target \"imap\" \"x\" {\n  host = \"h.example\"\n  credentials = secret.s\n  oversize {\n    MARK\n  }\n}",
	"dns":               "dns \"by_hand\" \"x\" {\n  MARK\n}",
	"dns.safety":        "dns \"by_hand\" \"x\" {\n  safety {\n    MARK\n  }\n}",
	"dns.key":           "dns \"rfc2136\" \"x\" {\n  server = \"192.0.2.1\"\n  key {\n    name = \"k.\"\n    secret = secret.s\n    MARK\n  }\n}",
	"smtp":              "smtp \"x\" {\n  host = \"h.example\"\n  from = \"a@b.example\"\n  MARK\n}",
	"mailbox":           "mailbox \"x\" {\n  source = \"a@b.example\"\n  target = \"a@b.example\"\n  from = source.imap\n  on = target.imap\n  MARK\n}",
	"mailbox.folders":   "mailbox \"x\" {\n  source = \"a@b.example\"\n  target = \"a@b.example\"\n  from = source.imap\n  on = target.imap\n  folders {\n    MARK\n  }\n}",
	"distribution_list": "distribution_list \"x\" {\n  address = \"l@b.example\"\n  members = [\"a@b.example\"]\n  MARK\n}",
	"forwarder":         "forwarder \"x\" {\n  address = \"f@b.example\"\n  deliver = [\"a@c.example\"]\n  MARK\n}",
	"domain":            "domain \"b.example\" {\n  dns = dns.by_hand\n  mail = target.imap\n  MARK\n}",
	"domain.ttl":        "domain \"b.example\" {\n  dns = dns.by_hand\n  mail = target.imap\n  ttl {\n    MARK\n  }\n}",
	"domain.record":     "domain \"b.example\" {\n  dns = dns.by_hand\n  mail = target.imap\n  record \"MX\" \"@\" {\n    values = [\"1 h.example\"]\n    MARK\n  }\n}",
	"gate.approve":      "gate \"x\" {\n  require = [check.bulk_copy_complete]\n  approve {\n    MARK\n  }\n}",
	"validation":        "validation {\n  MARK\n}",
	"validation.probe":  "validation {\n  probe \"x\" {\n    imap = \"imaps://a@h.example\"\n    smtp = \"smtps://a@h.example\"\n    credentials = secret.s\n    MARK\n  }\n}",
}

// special are samples for attributes that only some kinds have.
var special = map[string]string{
	"host tenant cloud exchange":  "target \"microsoft365\" \"x\" {\n  tenant = \"t\"\n  client_id = \"c\"\n  credentials = secret.s\n  MARK\n}",
	"mailbox full_access send_as": "shared_mailbox \"x\" {\n  source = \"a@b.example\"\n  target = \"a@b.example\"\n  from = source.imap\n  on = target.imap\n  MARK\n}",
}

// A default that is described means the same as leaving the attribute out.
func TestDescribedDefaults(t *testing.T) {
	const base = `migration "a" {
  cutover = "2027-01-15T18:00Z"
  %s
}
secret "s" {
  env = "S"
}
source "imap" {
  host        = "old.example"
  credentials = secret.s
}
target "imap" {
  host        = "new.example"
  credentials = secret.s
}
dns "by_hand" {}
`
	digest := func(key, name, line string) (string, error) {
		sample, migration := samples[key], ""
		for words, s := range special {
			if f := strings.Fields(words); f[0] == key && slices.Contains(f[1:], name) {
				sample = s
			}
		}
		if key == "migration" {
			migration = line
		} else if sample == "" {
			return "", fmt.Errorf("no sample")
		}
		l, errs := Load(files("a.mx.hcl", fmt.Sprintf(base, migration)+strings.ReplaceAll(sample, "MARK", line)), Options{})
		if errs.HasErrors() {
			return "", errs
		}
		return l.Migration.Digest(), nil
	}
	tried := 0
	for key, texts := range attributeTexts {
		for name, d := range texts {
			if d.def == "" || d.typ == "type" {
				continue
			}
			without, err := digest(key, name, "")
			if err != nil {
				t.Errorf("%s without %s: %v", key, name, err)
				continue
			}
			with, err := digest(key, name, name+" = "+d.def)
			if err != nil {
				t.Errorf("%s with %s = %s: %v", key, name, d.def, err)
			} else if with != without {
				t.Errorf("%s: %s = %s is not the default", key, name, d.def)
			}
			tried++
		}
	}
	if tried < 35 {
		t.Errorf("only %d defaults were tried", tried)
	}
	if one, _ := digest("domain.ttl", "during", "during = 301"); one == "" || func() bool { d, _ := digest("domain.ttl", "during", ""); return d == one }() {
		t.Error("the test would not see another default")
	}
}

const (
	pageName  = "../../docs/language.md"
	pageBegin = "<!-- reference: written by go test ./plan/config -run TestLanguagePage -update -->\n"
	pageEnd   = "<!-- end of reference -->\n"
)

// The page of the documentation holds the reference as it is.
func TestLanguagePage(t *testing.T) {
	page, err := os.ReadFile(pageName)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), pageBegin)
	_, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok || !ok2 {
		t.Fatal("the page has lost its marks")
	}
	want := before + pageBegin + referencePage() + pageEnd + after
	if *update {
		if err := os.WriteFile(pageName, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("docs/language.md is behind the language; -update writes it:\n%s", diff)
	}
}

// referencePage is the reference as Markdown.
func referencePage() string {
	var b bytes.Buffer
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	var block func(path string, x BlockReference)
	block = func(path string, x BlockReference) {
		if len(x.Attributes) > 0 {
			b.WriteString("\n| attribute | type | default | |\n|---|---|---|---|\n")
			for _, a := range x.Attributes {
				def := ""
				switch {
				case a.Required:
					def = "required"
				case a.Default != "":
					def = "`" + a.Default + "`"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Name, cell(a.Type), cell(def), cell(a.Text))
			}
		}
		for _, n := range x.Blocks {
			fmt.Fprintf(&b, "\n**`%s`**", path+" "+headerOf(n))
			if n.Text != "" {
				fmt.Fprintf(&b, " %s", n.Text)
			}
			b.WriteString("\n")
			block(path+" › "+n.Type, n)
		}
	}
	b.WriteString("\n## Blocks\n")
	for _, x := range Describe().Blocks {
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n", headerOf(x), x.Text)
		block(x.Type, x)
	}
	b.WriteString("\n## Defaults of the schedule\n\n| phase | start | until | repeat | gate |\n|---|---|---|---|---|\n")
	for _, w := range defaultSchedule() {
		repeat, gate := "", ""
		if w.Repeat > 0 {
			repeat = plan.FormatDuration(w.Repeat)
		}
		if w.Gate != "" {
			gate = "`gate." + w.Gate + "`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", w.Phase, w.Start, orCode(w.Until.String()), repeat, gate)
	}
	b.WriteString("\n## Defaults of the gates\n\n")
	for _, name := range defaultGateNames {
		g := defaultGate(name)
		var asks []string
		for _, c := range g.Require {
			asks = append(asks, "`"+c.String()+"`")
		}
		fmt.Fprintf(&b, "- `gate.%s`: %s; %d approval\n", name, strings.Join(asks, ", "), g.Approve.Count)
	}
	b.WriteString("\n## Checks\n\n")
	for _, c := range Describe().Checks {
		form := "check." + c.Name
		if c.Argument {
			form += "[\"7d\"]"
		}
		fmt.Fprintf(&b, "- `%s`\n", form)
	}
	b.WriteString("\n## Functions\n\n| function | |\n|---|---|\n")
	for _, f := range Describe().Functions {
		fmt.Fprintf(&b, "| `%s` | %s |\n", cell(f.Signature), cell(f.Text))
	}
	fmt.Fprintf(&b, "\n## Facts of a target\n\n`target.microsoft365.domain[\"acme.example\"].NAME`, where NAME is one of %s.\n\n", "`"+strings.Join(Describe().Facts, "`, `")+"`")
	return b.String()
}

func orCode(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func headerOf(x BlockReference) string {
	s := x.Type
	for i, l := range x.Labels {
		word := strings.ToUpper(strings.ReplaceAll(l, " ", "_"))
		if i == 0 && x.Kind != "" {
			word = x.Kind
		}
		word = "\"" + word + "\""
		if i >= len(x.Labels)-x.Optional {
			word = "[" + word + "]"
		}
		s += " " + word
	}
	return s
}

// Describe gives the same every time: editors and pages are compared with it.
func TestDescribeIsStable(t *testing.T) {
	if diff := cmp.Diff(Describe(), Describe()); diff != "" {
		t.Error(diff)
	}
	if n := len(slices.Collect(maps.Keys(language))); n != len(blockOrder) {
		t.Errorf("%d blocks, %d in order", n, len(blockOrder))
	}
}
