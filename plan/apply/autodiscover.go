package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// autodiscoverPatience bounds the look at the domain's own web server.
const autodiscoverPatience = 6 * time.Second

// autodiscoverLeads: where the flip moves autodiscover, is nothing left that leads mail
// programs elsewhere? Outlook asks the domain's own web server first, then the
// host autodiscover, and the SRV record last.
func autodiscoverLeads(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "take the other way out: delete or replace the SRV record with a record block, or have the web server answer 404 at /autodiscover/autodiscover.xml"
	e.eachFlip(a, func(f flip) {
		domain := f.domain.Name
		r, ok := f.set("CNAME", "autodiscover")
		if !ok || !r.want.Exists() {
			return
		}
		p := e.prospect(a)
		for _, typ := range []string{"A", "AAAA"} {
			if set, err := p.find(ctx, "autodiscover."+domain+".", typ); err == nil && set.Exists() {
				a.no("autodiscover.%s has %s records beside the CNAME", domain, typ)
			}
		}
		srv, err := p.find(ctx, "_autodiscover._tcp."+domain+".", "SRV")
		if err != nil {
			a.warn("whether %s has an SRV record for autodiscover could not be asked: %v", domain, err)
		}
		for _, data := range srv.Data {
			fields := strings.Fields(data)
			if to := fields[len(fields)-1]; !strings.EqualFold(to, r.want.Data[0]) && to != "autodiscover."+domain+"." {
				a.no("_autodiscover._tcp.%s leads mail programs to %s", domain, strings.TrimSuffix(to, "."))
			}
		}
		e.apexAnswers(ctx, p, domain, a)
	})
}

// apexAnswers looks whether the domain's web server answers for autodiscover.
// No connection is no competitor.
func (e *Engine) apexAnswers(ctx context.Context, p *prospect, domain string, a *Answer) {
	d, _ := e.Migration.Domain(domain)
	cfg, ok := e.Migration.Zone(d.Zone)
	webs, able := e.Systems.(providers.Webs)
	if !ok || !cfg.Worldly() || !able {
		return
	}
	if has, err := p.addresses(ctx, domain+"."); err != nil || !has {
		return
	}
	web, err := webs.Web(domain)
	if err != nil {
		return
	}
	url := "https://" + domain + "/autodiscover/autodiscover.xml"
	ctx, cancel := context.WithTimeoutCause(ctx, autodiscoverPatience, errTooSlow)
	defer cancel()
	page, err := web.Get(ctx, url)
	if err != nil {
		a.saw(e, url, "GET", err.Error())
		return
	}
	a.saw(e, url, "GET", fmt.Sprintf("HTTP %d %s", page.Status, page.Type))
	switch {
	case page.Status == 401, page.Status == 200 && strings.HasSuffix(page.Type, "xml"):
		a.no("%s answers HTTP %d, and Outlook asks it before autodiscover.%s", url, page.Status, domain)
	case page.Status == 200:
		a.warn("%s answers HTTP 200 (%s), and Outlook asks it before autodiscover.%s", url, page.Type, domain)
	}
}
