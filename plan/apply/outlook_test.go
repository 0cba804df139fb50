package apply

import (
	"context"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Ask gives the page that the lab has for the method and address.
func (w labWeb) Ask(ctx context.Context, method, url, body string) (providers.Reply, error) {
	if method == "POST" && !strings.Contains(body, "<EMailAddress>postmaster@acme.example</EMailAddress>") {
		return providers.Reply{}, &providers.Error{Op: "ask", Subject: url, Reason: providers.BadMessage}
	}
	page, err := w.Get(ctx, method+" "+url)
	to := ""
	if page.Status/100 == 3 {
		page.Body, to = "", page.Body
	}
	return providers.Reply{Page: page, Location: to}, err
}

func TestOutlookGoesItsWay(t *testing.T) {
	const (
		root     = "POST https://acme.example/autodiscover/autodiscover.xml"
		own      = "POST https://autodiscover.acme.example/autodiscover/autodiscover.xml"
		redirect = "GET http://autodiscover.acme.example/autodiscover/autodiscover.xml"
		xml      = "text/xml"
	)
	page := func(status int, kind, to string) providers.Page {
		return providers.Page{Status: status, Type: kind, Body: to}
	}
	for _, c := range []struct {
		name       string
		pages      map[string]providers.Page
		srv        string
		end, wrong string
	}{
		{"the domain's web server has no such page", map[string]providers.Page{root: page(404, "text/html", ""), own: page(401, "", "")}, "", "autodiscover.acme.example", ""},
		{"it answers everything with a page", map[string]providers.Page{root: page(200, "text/html", ""), own: page(200, xml, "")}, "", "autodiscover.acme.example", ""},
		{"it asks for a password", map[string]providers.Page{root: page(401, "", ""), own: page(200, xml, "")}, "", "acme.example", "Outlook asks https://acme.example first"},
		{"it answers in XML", map[string]providers.Page{root: page(200, "application/xml", "")}, "", "acme.example", "never ask autodiscover.acme.example"},
		{"a certificate that doesn't fit, and a redirect", map[string]providers.Page{redirect: page(302, "", "https://autodiscover-s.outlook.com/autodiscover/autodiscover.xml")}, "", "autodiscover-s.outlook.com", ""},
		{"a redirect without TLS is not followed", map[string]providers.Page{redirect: page(302, "", "http://evil.example/")}, "", "", ""},
		{"SRV to the old host", nil, "0 0 443 old.example.", "old.example", "the SRV record leads it to old.example"},
		{"SRV to the published one", nil, "0 0 443 autodiscover.new.example.", "autodiscover.new.example", ""},
		{"nobody", nil, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startFlipLab(t)
			l.prepare()
			for url, p := range c.pages {
				l.pages[url] = p
			}
			if c.srv != "" {
				l.put(plan.RRset{Name: "_autodiscover._tcp.acme.example.", Type: "SRV", TTL: 60, Data: []string{c.srv}})
			}
			e := l.engine()
			r, err := e.asOutlook(t.Context(), "acme.example")
			if err != nil {
				t.Fatal(err)
			}
			published, ours := e.published("acme.example")
			why := judgeRoute(r, "acme.example", published)
			if !ours {
				t.Error("the plan leads autodiscover nowhere")
			}
			if r.end != c.end || !strings.Contains(why, c.wrong) || (why == "") != (c.wrong == "") {
				t.Errorf("ends at %q (%s), want %q (%s): %q", r.end, why, c.end, c.wrong, r.steps)
			}
		})
	}
}
