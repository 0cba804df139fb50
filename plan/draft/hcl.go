package draft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// HCL is a file with the blocks that the configuration lacks; nil when it lacks
// none. What belongs into a block that is there already stands as a comment.
// The file is valid beside the configuration it was made for, once mailboxes.csv
// holds what MailboxTable gives.
func HCL(m *plan.Migration, seen Seen) []byte {
	w := &writer{m: m, file: hclwrite.NewEmptyFile()}
	w.mailboxes(seen)
	for _, d := range slices.SortedFunc(slices.Values(seen.Domains), func(x, y Domain) int { return strings.Compare(x.Name, y.Name) }) {
		w.domain(d)
	}
	if len(w.file.Body().Blocks()) == 0 && !w.said {
		return nil
	}
	head := "# Drafted by mxodus discover -generate from what it saw. Read it, change what is\n" +
		"# not meant, and move it beside the other .mx.hcl files.\n\n"
	return append([]byte(head), hclwrite.Format(w.file.Bytes())...)
}

type writer struct {
	m    *plan.Migration
	file *hclwrite.File
	said bool // a comment has been written
}

// comment writes lines with "# " before each.
func (w *writer) comment(body *hclwrite.Body, lines ...string) {
	w.said = true
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight("# "+printable(l), " ") + "\n")
	}
	body.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte(b.String())}})
}

// printable keeps a server's names from ending a comment or from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

// --- mailboxes ------------------------------------------------------------------

func (w *writer) mailboxes(seen Seen) {
	declared := slices.ContainsFunc(w.m.Mailboxes, func(b plan.Mailbox) bool { return b.Kind == plan.UserMailbox })
	kind := ""
	if len(w.m.Targets) > 0 {
		kind = w.m.Targets[0].Kind
	}
	rules := folderRules(kind, seen.Mailboxes)
	body := w.file.Body()
	if !declared && slices.ContainsFunc(seen.Mailboxes, func(b Mailbox) bool { return !b.Declared }) {
		block := body.AppendNewBlock("mailbox", []string{"user"}).Body()
		block.SetAttributeRaw("for_each", raw(`{ for m in csvdecode(file("mailboxes.csv")) : m.address => m }`))
		block.AppendNewline()
		block.SetAttributeTraversal("source", traversal("each", "key"))
		block.SetAttributeTraversal("target", traversal("each", "value", "target"))
		block.SetAttributeTraversal("display_name", traversal("each", "value", "name"))
		if !rules.empty() {
			block.AppendNewline()
			rules.write(w, block.AppendNewBlock("folders", nil).Body())
		}
		body.AppendNewline()
		return
	}
	if rules.empty() {
		return
	}
	f := hclwrite.NewEmptyFile()
	rules.write(w, f.Body().AppendNewBlock("folders", nil).Body())
	w.comment(body, append([]string{"Into the mailbox block, for the folders that were seen:", ""},
		strings.Split(strings.TrimRight(string(hclwrite.Format(f.Bytes())), "\n"), "\n")...)...)
	body.AppendNewline()
}

// rules are the folder rules that what was seen asks for.
type rules struct {
	renamed map[string]string
	junk    []string // folders of spam, which few people want to take along
}

func (r rules) empty() bool { return len(r.renamed) == 0 && len(r.junk) == 0 }

// reserved are the names that Exchange keeps for what is no mail, in lower case.
var reserved = []string{"calendar", "contacts", "tasks", "notes", "journal", "outbox", "files", "sync issues", "conversation history"}

// junkNames tell a folder of spam where the source marks none.
var junkNames = []string{"spam", "junk", "junk-e-mail", "junk email", "spamverdacht", "unerwünscht"}

// folderRules looks over the folders of all mailboxes together: they share their rules.
func folderRules(kind string, boxes []Mailbox) rules {
	r := rules{renamed: map[string]string{}}
	folds := kind == "microsoft365" || kind == "google_workspace"
	junk := map[string]bool{}
	for _, b := range boxes {
		taken := map[string]bool{}
		names := []string{}
		for _, f := range b.Folders {
			names = append(names, f.Name)
			if f.SpecialUse == `\Junk` || f.SpecialUse == "" && slices.Contains(junkNames, strings.ToLower(f.Name)) {
				junk[f.Name] = true
			}
		}
		slices.Sort(names)
		for _, n := range names {
			to := n
			if folds {
				to = trimmed(n)
			}
			if kind == "microsoft365" && slices.Contains(reserved, strings.ToLower(to)) {
				to += " (mail)"
			}
			for i := 2; folds && taken[strings.ToLower(to)]; i++ {
				to = fmt.Sprintf("%s (%d)", trimmed(n), i)
			}
			taken[strings.ToLower(to)] = true
			if to != n && !strings.EqualFold(n, "INBOX") && r.renamed[n] == "" {
				r.renamed[n] = to
			}
		}
	}
	r.junk = slices.Sorted(maps.Keys(junk))
	return r
}

// trimmed is a name without blanks around its levels, which Exchange and Gmail refuse.
func trimmed(name string) string {
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(levels, "/")
}

func (r rules) write(w *writer, body *hclwrite.Body) {
	if len(r.junk) > 0 {
		quoted := make([]string, len(r.junk))
		for i, j := range r.junk {
			quoted[i] = strings.TrimSpace(string(hclwrite.TokensForValue(cty.StringVal(j)).Bytes()))
		}
		w.comment(body, "exclude = ["+strings.Join(quoted, ", ")+"] # these hold spam: leave them behind?")
	}
	if len(r.renamed) > 0 {
		values := map[string]cty.Value{}
		for from, to := range r.renamed {
			values[from] = cty.StringVal(to)
		}
		w.comment(body, "The target takes these names for others, or not at all.")
		body.SetAttributeValue("map", cty.MapVal(values))
	}
}

// --- domains --------------------------------------------------------------------

// ionosSPF are the names under which IONOS zones include their senders.
var ionosSPF = []string{"include:_spf-eu.ionos.com", "include:_spf-us.ionos.com", "include:_spf.kundenserver.de", "include:_spf.perfora.net"}

func (w *writer) domain(d Domain) {
	body := w.file.Body()
	owner := d.Name + "."
	records, notes := w.records(d)
	if d.Declared {
		have, _ := w.m.Domain(d.Name)
		records = slices.DeleteFunc(records, func(r plan.Record) bool {
			return slices.ContainsFunc(have.Records, func(h plan.Record) bool { return h.Type == r.Type && h.Name == r.Name })
		})
		if len(records) == 0 {
			return
		}
		f := hclwrite.NewEmptyFile()
		for _, r := range records {
			writeRecord(f.Body(), r)
		}
		w.comment(body, append([]string{fmt.Sprintf("Into the block domain %q, if it is meant:", d.Name), ""},
			strings.Split(strings.TrimRight(string(hclwrite.Format(f.Bytes())), "\n"), "\n")...)...)
		body.AppendNewline()
		return
	}
	lines := []string{"What " + d.Name + " has today:"}
	for _, s := range d.Sets {
		for _, data := range s.Data {
			name := strings.TrimSuffix(strings.TrimSuffix(s.Name, owner), ".")
			if name == "" {
				name = "@"
			}
			lines = append(lines, fmt.Sprintf("  %-6d %-5s %-20s %s", s.TTL, s.Type, name, data))
		}
	}
	if len(d.Sets) == 0 {
		lines = append(lines, "  no mail records")
	}
	w.comment(body, lines...)
	body.AppendNewline()
	block := body.AppendNewBlock("domain", []string{d.Name}).Body()
	ttl := block.AppendNewBlock("ttl", nil).Body()
	ttl.SetAttributeValue("during", cty.NumberIntVal(300))
	restore := int64(3600)
	if mx := d.Set(owner, "MX"); mx.Exists() && mx.TTL >= 300 {
		restore = int64(mx.TTL)
	}
	ttl.SetAttributeValue("restore", cty.NumberIntVal(restore))
	if len(notes) > 0 {
		block.AppendNewline()
		w.comment(block, notes...)
	}
	for _, r := range records {
		block.AppendNewline()
		writeRecord(block, r)
	}
	body.AppendNewline()
}

func writeRecord(body *hclwrite.Body, r plan.Record) {
	block := body.AppendNewBlock("record", []string{r.Type, r.Name}).Body()
	block.SetAttributeTraversal("at", traversal("phase", string(r.At)))
	if r.Match != "" {
		block.SetAttributeValue("match", cty.StringVal(r.Match))
	}
	if r.Keep {
		block.SetAttributeValue("keep", cty.True)
	}
	values := make([]cty.Value, len(r.Values))
	for i, v := range r.Values {
		values[i] = cty.StringVal(v)
	}
	block.SetAttributeValue("values", cty.ListVal(values))
}

// records are those that the move to the first target needs, and words about
// what nobody here can know.
func (w *writer) records(d Domain) (list []plan.Record, notes []string) {
	if len(w.m.Targets) == 0 {
		return nil, nil
	}
	target := w.m.Targets[0]
	owner := d.Name + "."
	dmarc := d.Set("_dmarc."+owner, "CNAME")
	foreign := dmarc.Exists() && !strings.HasSuffix(dmarc.Data[0], "."+owner)
	switch {
	case foreign:
		notes = append(notes, "Its DMARC policy is that of "+strings.TrimSuffix(dmarc.Data[0], ".")+": a policy of its own takes the place.")
	case d.Set("_dmarc."+owner, "TXT").Exists():
		notes = append(notes, "Its DMARC policy stays as it is.")
	}
	if foreign || !dmarc.Exists() && !d.Set("_dmarc."+owner, "TXT").Exists() {
		list = append(list, plan.Record{Type: "TXT", Name: "_dmarc", At: plan.Provision, Values: []string{"v=DMARC1; p=none; rua=mailto:postmaster@" + d.Name}})
	}
	switch target.Kind {
	case "microsoft365":
		return list, append(notes, "MX, SPF, autodiscover and DKIM come from the tenant: mxodus plan shows them.")
	case "google_workspace": // support.google.com/a/answer/174125
		list = append(list, plan.Record{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"1 smtp.google.com."}})
		notes = append(notes, "The DKIM key is named by the admin console: add it as record \"TXT\" \"google._domainkey\".")
	case "ionos":
		region := target.Settings["region"]
		if region == "" {
			region = "com"
		}
		list = append(list, plan.Record{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"10 mx00.ionos." + region + ".", "10 mx01.ionos." + region + "."}})
	default:
		list = append(list, plan.Record{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"10 " + target.Hostname + "."}})
		notes = append(notes, "MX and SPF are guesses: ask the new host for them.")
	}
	if spf := nextSPF(target, d.Set(owner, "TXT")); spf != "" {
		list = append(list, plan.Record{Type: "TXT", Name: "@", At: plan.Flip, Match: "v=spf1", Values: []string{spf}})
	}
	return list, notes
}

// nextSPF is the domain's record with the target's senders in place of the old
// host's; what else sends for the domain stays. "" where the domain has none: then
// nobody can know who sends for it.
func nextSPF(target plan.Host, txt plan.RRset) string {
	sender := map[string]string{"google_workspace": "include:_spf.google.com", "ionos": "include:_spf-eu.ionos.com"}[target.Kind]
	if target.Kind == "ionos" && target.Settings["region"] == "com" {
		sender = "include:_spf-us.ionos.com"
	}
	if sender == "" {
		sender = "mx"
	}
	for _, data := range txt.Data {
		text, err := plan.TXTText(data)
		if err != nil || !strings.HasPrefix(strings.ToLower(text)+" ", "v=spf1 ") {
			continue
		}
		out := []string{"v=spf1", sender}
		for _, term := range strings.Fields(text)[1:] {
			if !slices.Contains(ionosSPF, strings.ToLower(term)) && !slices.Contains(out, term) {
				out = append(out, term)
			}
		}
		return strings.Join(out, " ")
	}
	return ""
}

// --- hclwrite -------------------------------------------------------------------

func traversal(names ...string) hcl.Traversal {
	t := hcl.Traversal{hcl.TraverseRoot{Name: names[0]}}
	for _, n := range names[1:] {
		t = append(t, hcl.TraverseAttr{Name: n})
	}
	return t
}

// raw is an expression as it stands.
func raw(expression string) hclwrite.Tokens {
	f, diags := hclwrite.ParseConfig([]byte("x = "+expression+"\n"), "", hcl.InitialPos)
	if diags.HasErrors() {
		panic("draft: an expression of its own is wrong: " + diags.Error())
	}
	return f.Body().GetAttribute("x").Expr().BuildTokens(nil)
}
