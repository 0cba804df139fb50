package apply

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// outlookAsks is what Outlook sends (MS-OXDSCLI §2.2.3): an address, and which schema it wants back.
const outlookAsks = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>%s</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>
`

// outlookRoute is the way that Outlook goes to find its settings.
type outlookRoute struct {
	steps []string // what each place said, in the order in which they are asked
	end   string   // host that it stops at; "" = it finds nothing
	way   string   // how it came there: "domain", "autodiscover", "redirect", "srv"
}

// errNoOutlook says that nobody can be asked as Outlook asks.
var errNoOutlook = errors.New("web servers are not asked here")

// asOutlook asks in the order of MS-OXDSCLI §3.1.5.4, but for the directory of a Windows domain, which is
// none of ours: the domain's own web server, the host autodiscover, that host without TLS for a redirect, and the SRV
// record. It stops where Outlook stops: at an answer in XML, or one that asks for a password.
func (e *Engine) asOutlook(ctx context.Context, domain string) (outlookRoute, error) {
	var r outlookRoute
	d, _ := e.Migration.Domain(domain)
	cfg, ok := e.Migration.Zone(d.Zone)
	webs, able := e.Systems.(providers.Webs)
	if !ok || !cfg.Worldly() || !able {
		return r, errNoOutlook
	}
	web, err := webs.Web(domain)
	if err != nil {
		return r, err
	}
	asker, ok := web.(providers.WebAsker)
	if !ok {
		return r, errNoOutlook
	}
	places := []outlookPlace{
		{way: "domain", method: "POST", url: "https://" + domain},
		{way: "autodiscover", method: "POST", url: "https://autodiscover." + domain},
		{way: "redirect", method: "GET", url: "http://autodiscover." + domain},
	}
	// Asked at the same time, judged in their order: each may take its patience to be silent.
	atOnce(len(places), len(places), func(i int) { places[i].ask(ctx, asker, domain) })
	for _, x := range places {
		r.steps = append(r.steps, x.words())
		to := redirected(x.reply)
		switch {
		case x.err != nil:
		case x.method == "POST" && x.settles():
			r.end, r.way = strings.TrimPrefix(x.url, "https://"), x.way
			return r, nil
		case x.way != "domain" && to != "":
			r.end, r.way = to, "redirect"
			return r, nil
		}
	}
	return r, e.outlookSRV(ctx, domain, &r)
}

// outlookPlace is one web server that Outlook asks, and what it said.
type outlookPlace struct {
	way, method, url string
	reply            providers.Reply
	err              error
}

func (x *outlookPlace) ask(ctx context.Context, asker providers.WebAsker, domain string) {
	ctx, cancel := context.WithTimeoutCause(ctx, autodiscoverPatience, errTooSlow)
	defer cancel()
	body := ""
	if x.method == "POST" {
		body = fmt.Sprintf(outlookAsks, "postmaster@"+domain)
	}
	x.reply, x.err = asker.Ask(ctx, x.method, x.url+"/autodiscover/autodiscover.xml", body)
}

// settles reports whether Outlook stops here: at an answer in XML, or one that asks for a password.
func (x *outlookPlace) settles() bool {
	return x.reply.Status == 401 || x.reply.Status == 200 && strings.HasSuffix(x.reply.Type, "xml")
}

func (x *outlookPlace) words() string {
	if x.err != nil {
		return fmt.Sprintf("%s %s: no answer", x.method, x.url)
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s: HTTP %d %s %s", x.method, x.url, x.reply.Status, x.reply.Type, x.reply.Location)), " ")
}

// redirected is the host that an answer leads on to over TLS, "" for none: Outlook follows no other.
func redirected(reply providers.Reply) string {
	u, err := url.Parse(reply.Location)
	if err != nil || reply.Status/100 != 3 || u.Scheme != "https" {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

func (e *Engine) outlookSRV(ctx context.Context, domain string, r *outlookRoute) error {
	servers, err := e.Systems.NameServers(domain)
	if err != nil {
		return err
	}
	list, err := servers.Authoritative(ctx, domain)
	if err != nil || len(list) == 0 {
		return err
	}
	ans, err := servers.Ask(ctx, list[0], "_autodiscover._tcp."+domain+".", "SRV")
	if err != nil {
		return err
	}
	for _, data := range ans.Set.Data {
		if fields := strings.Fields(data); len(fields) == 4 {
			r.end, r.way = strings.ToLower(strings.TrimSuffix(fields[3], ".")), "srv"
			r.steps = append(r.steps, "SRV _autodiscover._tcp."+domain+" leads to "+r.end)
			return nil
		}
	}
	r.steps = append(r.steps, "SRV _autodiscover._tcp."+domain+": none")
	return nil
}

// judgeRoute says what is wrong with where Outlook ends, "" when nothing is. published is the host that the
// plan leads autodiscover to; the host autodiscover itself is right wherever it leads on to, since whoever serves
// it is the one that the plan named.
func judgeRoute(r outlookRoute, domain, published string) string {
	switch {
	case r.way == "domain":
		return fmt.Sprintf("Outlook asks https://%s first, which answers it: mail programs get their settings there, and never ask autodiscover.%s", domain, domain)
	case r.way == "srv" && r.end != published && r.end != "autodiscover."+domain:
		return fmt.Sprintf("nothing else answers Outlook, and the SRV record leads it to %s", r.end)
	}
	return ""
}

// words tell the end in one line.
func (r outlookRoute) words() string {
	if r.end == "" {
		return "Outlook finds no settings by itself: nobody answers"
	}
	return "Outlook gets its settings from " + r.end
}

// published is the host that the flip leads autodiscover to, "" where the plan does not.
func (e *Engine) published(domain string) (string, bool) {
	for _, s := range e.Plan.Steps {
		if s.Phase == plan.Flip && s.Address == "dns/"+domain+"/CNAME/autodiscover" {
			set, err := plan.ParseRRset("autodiscover."+domain+".", "CNAME", s.To)
			if err == nil && len(set.Data) == 1 {
				return strings.ToLower(strings.TrimSuffix(set.Data[0], ".")), true
			}
			return "", true
		}
	}
	return "", false
}

// autodiscoverAsOutlook is the check: does Outlook end where the plan leads it?
func autodiscoverAsOutlook(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "have the domain's web server answer 404 at /autodiscover/autodiscover.xml, and take the SRV record out"
	for _, d := range e.Migration.Domains {
		host, ours := e.published(d.Name)
		if !ours {
			continue
		}
		r, err := e.asOutlook(ctx, d.Name)
		if err != nil {
			a.warn("%s could not be asked as Outlook asks: %v", d.Name, err)
			continue
		}
		if why := judgeRoute(r, d.Name, host); why != "" {
			a.no("%s: %s", d.Name, why)
			a.Detail = append(a.Detail, r.steps...)
		} else if r.end == "" {
			a.warn("%s: %s", d.Name, r.words())
		}
	}
}

// validateAutodiscover looks after the flip where Outlook ends.
func (e *Engine) validateAutodiscover(ctx context.Context, s plan.Step, domain string) error {
	host, _ := e.published(domain)
	r, err := e.asOutlook(ctx, domain)
	switch {
	case errors.Is(err, errNoOutlook):
		return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: err.Error()}))
	case err != nil:
		return err
	}
	if why := judgeRoute(r, domain, host); why != "" {
		return fmt.Errorf("%w: %s: %s", errValidation, domain, strings.Join(append([]string{why}, r.steps...), "; "))
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: strings.Join(append([]string{r.words()}, r.steps...), "; ")}))
}
