package inventory

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/literal"
)

// Format is the version of inventory.lock that this package reads and writes.
const Format = 1

const firstLine = "# mxodus inventory, format "

// Encode writes inventory.lock: canonical, so that the same facts give the
// same bytes and a change of one fact is a change of one line.
func (i *Inventory) Encode() []byte {
	i = i.sorted()
	w := &literal.Writer{}
	w.Comment(strings.TrimPrefix(firstLine, "# ") + strconv.Itoa(Format))
	w.String("lineage", i.Lineage)
	w.Strings("recipients", i.Recipients)
	for _, d := range i.Domains {
		w.Block("domain", []string{d.Name}, func() { encodeDomain(w, d) })
	}
	for _, m := range i.Sources {
		w.Block("source", []string{m.Host, m.Address}, func() {
			if m.Closed {
				w.Bool("closed", true)
			}
			encodeFolders(w, m.Folders)
		})
	}
	for _, m := range i.Targets {
		w.Block("target", []string{m.Host, m.Address}, func() {
			w.Bool("exists", m.Exists)
			encodeAccount(w, m.Account)
			encodeFolders(w, m.Folders)
		})
	}
	for _, a := range i.Addresses {
		w.Block("address", []string{a.Host, a.Address}, func() { encodeAddress(w, a) })
	}
	for _, d := range i.Directories {
		w.Block("directory", []string{d.Host}, func() { encodeDirectory(w, d) })
	}
	return w.Bytes()
}

func encodeDomain(w *literal.Writer, d Domain) {
	w.Bool("complete", d.Complete)
	if d.Signed {
		w.Bool("signed", true)
	}
	if d.NegativeTTL > 0 {
		w.Int("negative_ttl", int64(d.NegativeTTL))
	}
	if d.TTL.Minimum > 0 {
		w.Int("minimum_ttl", int64(d.TTL.Minimum))
	}
	if d.TTL.Maximum > 0 {
		w.Int("maximum_ttl", int64(d.TTL.Maximum))
	}
	if d.Chain != ChainUnknown {
		w.String("chain", d.Chain)
	}
	w.String("dmarc", d.DMARC)
	w.Strings("servers", d.Servers)
	for _, s := range d.Sets {
		w.Block("rrset", []string{s.Name, s.Type}, func() {
			if s.OldTTL > s.TTL {
				w.Int("old_ttl", int64(s.OldTTL))
			}
			w.Strings("records", s.Lines())
		})
	}
	for _, s := range d.SPF {
		w.Block("spf", []string{s.Domain}, func() { w.String("text", s.Text) })
	}
	if d.STS.Mode != "" {
		w.Block("mta_sts", nil, func() {
			w.String("id", d.STS.ID)
			w.String("mode", d.STS.Mode)
			w.Int("max_age", int64(d.STS.MaxAge/time.Second))
			w.Strings("mx", d.STS.MX)
		})
	}
}

// A folder is one line: "Sent" = "1716200001 \\Sent".
func encodeFolders(w *literal.Writer, folders []Folder) {
	var entries []literal.Entry
	for _, f := range folders {
		text := strconv.FormatUint(uint64(f.UIDValidity), 10)
		if f.SpecialUse != "" {
			text += " " + f.SpecialUse
		}
		entries = append(entries, literal.Entry{Key: f.Name, Text: text})
	}
	w.Map("folders", entries)
}

// Parse reads inventory.lock. Errors name the line and what was wanted there.
func Parse(data []byte) (*Inventory, error) {
	inv, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("inventory.lock: %w; mend it, or remove it and run mxodus discover (the new one has a new lineage, so earlier plans no longer fit)", err)
	}
	return inv, nil
}

func parse(data []byte) (*Inventory, error) {
	if err := checkFormat(data); err != nil {
		return nil, err
	}
	file, err := literal.Parse(data)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{}
	d := literal.Decode(file, 0)
	inv.Lineage = d.String("lineage")
	inv.Recipients = d.Strings("recipients")
	for _, b := range d.Blocks("domain") {
		dom, err := parseDomain(b)
		if err != nil {
			return nil, err
		}
		if _, ok := inv.Domain(dom.Name); ok {
			return nil, literal.Errorf(b.Line, "the domain %q stands here twice", dom.Name)
		}
		inv.Domains = append(inv.Domains, dom)
	}
	for _, side := range []struct {
		typ  string
		list *[]Mailbox
	}{{"source", &inv.Sources}, {"target", &inv.Targets}} {
		seen := map[string]bool{}
		for _, b := range d.Blocks(side.typ) {
			m, err := parseMailbox(b)
			if err != nil {
				return nil, err
			}
			key := m.Host + "\n" + m.Address
			if seen[key] {
				return nil, literal.Errorf(b.Line, "the %s %q at %q stands here twice", side.typ, m.Address, m.Host)
			}
			seen[key] = true
			*side.list = append(*side.list, m)
		}
	}
	for _, b := range d.Blocks("address") {
		a, err := parseAddress(b)
		if err != nil {
			return nil, err
		}
		inv.Addresses = append(inv.Addresses, a)
	}
	for _, b := range d.Blocks("directory") {
		dir, err := parseDirectory(b)
		if err != nil {
			return nil, err
		}
		if _, twice := inv.Directory(dir.Host); twice {
			return nil, literal.Errorf(b.Line, "the directory of %q stands here twice", dir.Host)
		}
		inv.Directories = append(inv.Directories, dir)
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	if inv.Lineage == "" {
		return nil, literal.Errorf(1, "the lineage is missing")
	}
	return inv, nil
}

func checkFormat(data []byte) error {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	text, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\r"), firstLine)
	if !ok {
		return literal.Errorf(1, "the first line is not %q", firstLine+strconv.Itoa(Format))
	}
	if text != strconv.Itoa(Format) {
		return literal.Errorf(1, "it has format %.20q, and this mxodus reads format %d: use the version that wrote it", text, Format)
	}
	return nil
}

func parseDomain(b *literal.Block) (Domain, error) {
	bd := literal.Decode(b, 1)
	d := Domain{Name: bd.Label(0), Complete: bd.Bool("complete"), Signed: bd.Bool("signed"), NegativeTTL: uint32(bd.Int("negative_ttl", 0, 1<<31-1)), Servers: bd.Strings("servers")}
	d.TTL = plan.TTLLimits{Minimum: uint32(bd.Int("minimum_ttl", 0, 1<<31-1)), Maximum: uint32(bd.Int("maximum_ttl", 0, 1<<31-1))}
	d.Chain, d.DMARC = bd.String("chain"), bd.String("dmarc")
	if !slices.Contains([]string{ChainUnknown, ChainNone, ChainValid, ChainBroken, ChainOrphan, ChainUnseen}, d.Chain) {
		return Domain{}, literal.Errorf(b.Line, "%q is no chain of signatures", d.Chain)
	}
	seen := map[string]bool{}
	for _, sb := range bd.Blocks("rrset") {
		sd := literal.Decode(sb, 2)
		old := uint32(sd.Int("old_ttl", 0, 1<<31-1))
		set, err := plan.ParseRRset(sd.Label(0), sd.Label(1), sd.Strings("records"))
		if sd.End() != nil {
			return Domain{}, sd.End()
		}
		switch key := set.Name + " " + set.Type; {
		case err != nil:
			return Domain{}, literal.Errorf(sb.Line, "%v", err)
		case !set.Exists():
			return Domain{}, literal.Errorf(sb.Line, "the record set %s %s holds no records", set.Name, set.Type)
		case seen[key]:
			return Domain{}, literal.Errorf(sb.Line, "the record set %s stands here twice", key)
		default:
			seen[key] = true
		}
		d.Sets = append(d.Sets, RRset{RRset: set, OldTTL: max(old, set.TTL)})
	}
	for _, sb := range bd.Blocks("spf") {
		sd := literal.Decode(sb, 1)
		r := SPFRecord{Domain: sd.Label(0), Text: sd.String("text")}
		if sd.End() != nil {
			return Domain{}, sd.End()
		}
		if d.SPFRecord(r.Domain) != "" {
			return Domain{}, literal.Errorf(sb.Line, "the SPF record of %s stands here twice", r.Domain)
		}
		d.SPF = append(d.SPF, r)
	}
	for i, sb := range bd.Blocks("mta_sts") {
		sd := literal.Decode(sb, 0)
		d.STS = STSPolicy{ID: sd.String("id"), Mode: sd.String("mode"), MaxAge: time.Duration(sd.Int("max_age", 0, 1<<31-1)) * time.Second, MX: sd.Strings("mx")}
		if sd.End() != nil {
			return Domain{}, sd.End()
		}
		if i > 0 || d.STS.Mode == "" {
			return Domain{}, literal.Errorf(sb.Line, "an MTA-STS policy stands once, and has a mode")
		}
	}
	return d, bd.End()
}

func parseMailbox(b *literal.Block) (Mailbox, error) {
	bd := literal.Decode(b, 2)
	m := Mailbox{Host: bd.Label(0), Address: bd.Label(1), Exists: true}
	if b.Type == "target" {
		m.Exists = bd.Bool("exists")
		m.Account = parseAccount(bd)
	} else {
		m.Closed = bd.Bool("closed")
	}
	for _, e := range bd.Map("folders") {
		number, use, spaced := strings.Cut(e.Text, " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || spaced && use == "" {
			return Mailbox{}, literal.Errorf(e.Line, "the folder %q is %q: want its UIDVALIDITY and, where it has one, its special use", e.Key, e.Text)
		}
		m.Folders = append(m.Folders, Folder{Name: e.Key, UIDValidity: uint32(n), SpecialUse: use})
	}
	slices.SortFunc(m.Folders, func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	return m, bd.End()
}
