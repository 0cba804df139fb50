package discover

import (
	"context"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/spf"
	"github.com/mxodus/mxodus/providers"
)

// spfPatience bounds all that is asked about one domain's includes: a resolver
// that is silent must not hold discover up.
const spfPatience = 15 * time.Second

// includes follows the SPF records that the domain has and will have to those
// of others. They exist already, so asking a resolver leaves no negative answer
// in its cache. What can't be had is told and left out.
func (o *observer) includes(ctx context.Context, ns providers.NameServers, d plan.Domain, sets []plan.RRset) []inventory.SPFRecord {
	ctx, cancel := context.WithTimeout(ctx, spfPatience)
	defer cancel()
	var queue []string
	for _, text := range spfTexts(d, sets) {
		queue = append(queue, spf.Included(text)...)
	}
	var found []inventory.SPFRecord
	asked := map[string]bool{}
	for ; len(queue) > 0 && len(asked) < 4*spf.Limit; queue = queue[1:] {
		name := queue[0]
		if asked[name] {
			continue
		}
		asked[name] = true
		ans, err := ns.Resolve(ctx, name+".", "TXT")
		if err != nil {
			o.say("warning: the SPF record of %s, which %s includes, could not be asked for: %v", name, d.Name, err)
			continue
		}
		for _, data := range ans.Set.Data {
			if text, err := plan.TXTText(data); err == nil && spf.Is(text) {
				found = append(found, inventory.SPFRecord{Domain: name, Text: text})
				queue = append(queue, spf.Included(text)...)
				break
			}
		}
	}
	return found
}

// spfTexts are the SPF records of the zone and of the configuration.
func spfTexts(d plan.Domain, sets []plan.RRset) []string {
	var texts []string
	for _, s := range sets {
		if s.Type != "TXT" || s.Name != d.Name+"." {
			continue
		}
		for _, data := range s.Data {
			if text, err := plan.TXTText(data); err == nil && spf.Is(text) {
				texts = append(texts, text)
			}
		}
	}
	for _, r := range d.Records {
		for _, v := range r.Values {
			if r.Type == "TXT" && spf.Is(strings.TrimSpace(v)) {
				texts = append(texts, v)
			}
		}
	}
	return texts
}
