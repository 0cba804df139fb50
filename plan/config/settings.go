package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are the same on every machine, also one without a zone database

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/notice"
)

// migration reads the block that everything else is timed by.
func (l *loader) migration(n *node, ctx *hcl.EvalContext) {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	l.m.Name = n.label(0)
	if !migrationName.MatchString(l.m.Name) {
		l.errorf(&n.block.LabelRanges[0], "Bad name", "The name of a migration is of letters, digits, \"-\", \"_\" and \".\", at most 64.")
	}
	l.m.Timezone = b.str("timezone", "")
	l.location = time.UTC
	if l.m.Timezone == "" {
		l.m.Timezone = "UTC"
	} else if loc, err := time.LoadLocation(l.m.Timezone); err != nil || l.m.Timezone == "Local" {
		b.errorf("timezone", "Unknown time zone", "%q is no name of the IANA time zone database: write one such as \"Europe/Berlin\".", l.m.Timezone)
		return
	} else {
		l.location = loc
	}
	if want := b.str("required_version", ""); want != "" {
		ok, err := satisfies(l.options.Version, want)
		switch {
		case err != nil:
			b.errorf("required_version", "No version constraint", "%v.", err)
		case !ok:
			b.errorf("required_version", "Other version required", "This is mxodus %s, and the migration wants %s.", l.options.Version, want)
		}
	}
	before := len(l.diags)
	s := b.str("cutover", "")
	if len(l.diags) > before {
		return
	}
	t, local, err := parseTime(s, l.location)
	switch {
	case err != nil:
		b.errorf("cutover", "No time", "%v.", err)
	case local && !b.has("timezone"):
		b.errorf("cutover", "Time without a zone", "%q is a local time: add timezone = \"Europe/Berlin\", or an offset such as %q.", s, s+"+01:00")
	}
	l.m.Cutover = t.In(l.location)
}

var migrationName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// moment turns a value into a point in the migration's time.
func (l *loader) moment(v cty.Value) (plan.Moment, error) {
	if v.IsNull() || !v.IsKnown() {
		return plan.Moment{}, errors.New("there is no value")
	}
	if _, ok := held[plan.Phase](v, phaseRefType); ok {
		return plan.Moment{}, errors.New("a phase has a .start and an .end, write which")
	}
	if m, ok := held[plan.Moment](v, momentType); ok {
		return m, nil
	}
	if v.Type() != cty.String {
		return plan.Moment{}, fmt.Errorf("want a time, and this is %s", describe(v.Type()))
	}
	if l.location == nil {
		return plan.Moment{}, errors.New("a time that the migration block depends on can't be a local one")
	}
	t, _, err := parseTime(v.AsString(), l.location)
	if err != nil {
		return plan.Moment{}, err
	}
	return plan.Moment{Anchor: plan.AnchorAbsolute, At: t.In(l.location)}, nil
}

// parseTime reads a time with an offset (RFC 3339), or a local one in loc.
func parseTime(s string, loc *time.Location) (t time.Time, local bool, err error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err = time.Parse(layout, s); err == nil && t.Nanosecond() == 0 {
			return t, false, nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err = time.ParseInLocation(layout, s, loc); err == nil && t.Nanosecond() == 0 {
			return t, true, checkLocal(t, s, layout)
		}
	}
	return time.Time{}, false, fmt.Errorf("%q is no time: want one such as \"2027-01-15T18:00\", or with an offset \"2027-01-15T18:00:00+01:00\"", s)
}

// checkLocal refuses local times that a change of the clocks skips or repeats.
func checkLocal(t time.Time, s, layout string) error {
	if t.Format(layout) != s {
		return fmt.Errorf("%q doesn't exist in %s: the clocks skip it", s, t.Location())
	}
	for step := 15 * time.Minute; step <= 3*time.Hour; step += 15 * time.Minute {
		for _, other := range []time.Time{t.Add(-step), t.Add(step)} {
			if other.Format(layout) == s {
				first, second := t, other
				if second.Before(first) {
					first, second = second, first
				}
				return fmt.Errorf("%q comes twice in %s: write %q or %q", s, t.Location(), first.Format(time.RFC3339), second.Format(time.RFC3339))
			}
		}
	}
	return nil
}

func (l *loader) validation(n *node, ctx *hcl.EvalContext) {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	v := plan.Validation{MaxDifference: b.share("max_difference", defaultDifference), Sample: b.strs("sample")}
	for _, s := range v.Sample {
		number, random := strings.CutPrefix(s, "random:")
		k, err := strconv.Atoi(number)
		_, noAddress := parseAddress(s)
		if random && err == nil && k > 0 || slices.Contains([]string{"heaviest", "lightest", "catch_all"}, s) || noAddress == nil {
			continue
		}
		b.errorf("sample", "Unknown word", "%q can't hold %q.%s", "sample", s, suggest(s, []string{"heaviest", "lightest", "catch_all", "random:3"}))
	}
	for _, p := range b.labelled("probe") {
		pb := b.within(p)
		v.Probes = append(v.Probes, plan.Probe{
			Name: p.Labels[0], IMAP: pb.account("imap", "imaps", "imap+starttls", "imap+none"),
			SMTP: pb.account("smtp", "smtps", "smtp+starttls", "smtp+none"), Credentials: pb.credentials("credentials"),
			Expect: pb.expectations("expect"), Timeout: pb.duration("timeout", 10*time.Minute, time.Second, 24*time.Hour), Pos: pb.pos(),
		})
	}
	slices.SortFunc(v.Probes, func(a, b plan.Probe) int { return strings.Compare(a.Name, b.Name) })
	l.m.Validation = v
}

const defaultDifference = 0.01

// share is "1%" or 0.01.
func (b *body) share(name string, otherwise float64) float64 {
	v, ok := b.as(name, cty.String, "a share such as \"1%\"")
	if !ok {
		return otherwise
	}
	digits, percent := strings.CutSuffix(strings.TrimSpace(v.AsString()), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		b.errorf(name, "No share", "%q wants a share from \"0%%\" to \"100%%\".", name)
		return otherwise
	}
	return f
}

// account is a URL such as imaps://anna@acme.example@imap.example: the last
// "@" ends the user.
func (b *body) account(name string, schemes ...string) string {
	s := b.str(name, "")
	if s == "" {
		return ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	at := strings.LastIndexByte(rest, '@')
	if !ok || !slices.Contains(schemes, scheme) || at < 1 {
		b.errorf(name, "No account", "%q wants %s://USER@HOST.", name, schemes[0])
		return ""
	}
	if user, err := url.PathUnescape(rest[:at]); err != nil || strings.ContainsAny(user, ":/") {
		b.errorf(name, "No account", "%q holds more than a user before the host; a password belongs into a secret block.", name)
		b.redact()
		return ""
	}
	hp, err := parseHostPort(rest[at+1:], 1)
	if err != nil {
		b.errorf(name, "No account", "%v.", err)
		return ""
	}
	if host := hp[:strings.LastIndexByte(hp, ':')]; strings.HasSuffix(scheme, "+none") && !isLoopback(strings.Trim(host, "[]")) {
		b.errorf(name, "Unprotected connection", "%s is for a loopback address alone.", scheme)
	}
	return s
}

// submission is a server's URL such as smtps://mail.acme.example, with the port filled in.
func (b *body) submission(name string) string {
	s := b.str(name, "")
	if s == "" {
		return ""
	}
	scheme, rest, _ := strings.Cut(s, "://")
	ports := map[string]int{"smtps": 465, "smtp+starttls": 587, "smtp+none": 587} // RFC 8314 §3.3
	hp, err := parseHostPort(rest, ports[scheme])
	if ports[scheme] == 0 || err != nil || strings.ContainsAny(rest, "@/") {
		b.errorf(name, "No server", "%q wants smtps://HOST or smtp+starttls://HOST; each mailbox logs in there with its own address.", name)
		return ""
	}
	if host := hp[:strings.LastIndexByte(hp, ':')]; scheme == "smtp+none" && !isLoopback(strings.Trim(host, "[]")) {
		b.errorf(name, "Unprotected connection", "%s is for a loopback address alone.", scheme)
	}
	return scheme + "://" + hp
}

// expectations are what a receiver has to say: "spf=pass".
func (b *body) expectations(name string) []string {
	list := b.strs(name)
	for _, s := range list {
		method, value, ok := strings.Cut(s, "=")
		if !ok || !slices.Contains([]string{"spf", "dkim", "dmarc", "arc", "iprev"}, method) || value == "" || strings.ContainsAny(value, " ;=") {
			b.errorf(name, "No result", "%q can't hold %q: write such as \"spf=pass\", \"dkim=pass\", \"dmarc=pass\".", name, s)
		}
	}
	return list
}

// events are what a notify block can wait for.
var events = []string{"gate.blocked", "gate.waiting", "phase.done", "step.failed"}

func (l *loader) notify(n *node, ctx *hcl.EvalContext) {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	before := len(l.diags)
	c := plan.NoticeConfig{
		Name: n.label(0), At: b.moment("at", plan.Moment{}), On: b.strs("on"), URL: b.webURL("url"),
		Subject: b.str("subject", ""), Via: b.name("via", "smtp", ""), Pos: n.pos(),
	}
	for _, e := range c.On {
		if !slices.Contains(events, e) {
			b.errorf("on", "Unknown event", "There is no event %q.%s", e, suggest(e, events))
		}
	}
	for _, v := range b.elements("to", "a list of mailboxes or addresses") {
		a := b.recipient("to", v)
		// Until the flip, mail to people goes where their mail still is.
		if r, ok := held[recipient](v, recipientType); ok && r.Source != "" && beforeFlip(c.At) {
			a = r.Source
		}
		if a != "" {
			c.To = append(c.To, a)
		}
	}
	slices.Sort(c.To)
	c.To = slices.Compact(c.To)
	b.template(&c)
	switch {
	case b.has("at") == b.has("on"):
		l.errorf(&n.at, "Notice without a cause", "A notify block has exactly one of at, a time, and on, a list of events.")
	case b.has("to") == b.has("url"):
		l.errorf(&n.at, "Notice to nobody", "A notify block has exactly one of to, mailboxes or addresses, and url, a webhook.")
	case b.has("url") && (b.has("subject") || b.has("template") || b.has("via")):
		l.errorf(&n.at, "Mail attributes beside a webhook", "subject, template and via belong to mail; a webhook gets JSON.")
	case b.has("to") && b.has("at") && (c.Subject == "" || c.Template == "") && len(l.diags) == before:
		l.errorf(&n.at, "Notice without words", "A notice to people needs a subject and a template.")
	}
	l.m.Notices = append(l.m.Notices, c)
	l.notices[c.Name] = b
}

// beforeFlip reports whether a moment comes before the new MX is published;
// the zero moment, an event, is told later.
func beforeFlip(m plan.Moment) bool {
	if p, end, ok := m.Anchor.Phase(); ok {
		return p.Before(plan.Flip) || p == plan.Flip && !end && m.Offset <= 0
	}
	return m.Anchor == plan.AnchorCutover && m.Offset <= 0
}

// template reads the text of a notice and the .html file beside it.
func (b *body) template(c *plan.NoticeConfig) {
	if s := b.str("template", ""); strings.HasPrefix(s, notice.Prefix) {
		name := strings.TrimPrefix(s, notice.Prefix)
		text, html, ok := notice.Builtin(name)
		if !ok {
			b.errorf("template", "Unknown text", "mxodus brings no text %q.%s", name, suggest(name, notice.Builtins()))
		}
		c.Template, c.Body, c.HTML = s, text, html
		b.placeholders(c)
		return
	}
	if c.Template = b.path("template"); c.Template == "" {
		return
	}
	text, err := b.l.reader.text(c.Template)
	if err != nil {
		b.errorf("template", "Template can't be read", "%v.", err)
		return
	}
	c.Body = text
	html := strings.TrimSuffix(c.Template, path.Ext(c.Template)) + ".html"
	if html != c.Template {
		if c.HTML, err = b.l.reader.text(html); err != nil && !errors.Is(err, errNoFile) {
			b.errorf("template", "Template can't be read", "%v.", err)
		}
	}
	b.placeholders(c)
}

// placeholders warns of what a text asks for that nobody knows.
func (b *body) placeholders(c *plan.NoticeConfig) {
	for _, name := range notice.Unknown(c.Subject + "\n" + c.Body + "\n" + c.HTML) {
		b.l.warnf(b.rangeOf("template"), "Unknown placeholder", "The text holds {%s}, which is sent as it stands.%s", name, suggest(name, append(notice.Names(), notice.Kinds()...)))
	}
}
