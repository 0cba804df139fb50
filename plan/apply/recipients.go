package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// refusedByNewMX asks the new MX of domain by RCPT TO for every address of it that the migration gives a
// home, where a control with a random name shows that the answers tell anything. It returns what was asked, in
// words, and each refusal. A server that gives no answer for the time being refuses nobody.
func (e *Engine) refusedByNewMX(ctx context.Context, domain string) (words string, refused []string) {
	d, _ := e.Migration.Domain(domain)
	host, ok := e.Migration.Target(d.Mail)
	if !ok {
		return "", nil
	}
	var list []string
	add := func(address, on string) {
		if _, of, _ := strings.Cut(strings.ToLower(address), "@"); of == domain && on == host.Key() {
			list = append(list, address)
		}
	}
	for _, m := range e.Migration.Mailboxes {
		add(m.Target, m.On)
	}
	for _, x := range e.Migration.Aliases {
		add(x.Address, x.On)
	}
	for _, x := range e.Migration.Lists {
		add(x.Address, x.On)
	}
	for _, x := range e.Migration.Forwarders {
		add(x.Address, x.On)
	}
	slices.Sort(list)
	taken := 0
	for _, address := range slices.Compact(list) {
		server, telling, why := e.exchanger(ctx, host, address)
		if !telling {
			return "addresses were not asked for: " + why, nil
		}
		ok, said, err := e.Systems.RecipientProbe().Accepts(ctx, server, address)
		switch {
		case err != nil:
		case ok:
			taken++
		default:
			refused = append(refused, fmt.Sprintf("%s does not take mail for %s: %s", server, address, said))
		}
	}
	return fmt.Sprintf("the new MX takes mail for %d of %d addresses, and for no random name", taken, len(list)), refused
}
