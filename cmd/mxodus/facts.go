package main

import (
	"strings"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/inventory"
)

// facts are what the configuration may read of inventory.lock: what targets ask
// the zones for. Without a readable lock nothing is known yet; the commands
// that need the lock say what is wrong with it.
func (a *app) facts() config.Facts {
	inv, err := a.readInventory()
	if err != nil || inv == nil {
		return nil
	}
	return factsOf(inv)
}

func factsOf(inv *inventory.Inventory) config.Facts {
	facts := config.Facts{}
	for _, dir := range inv.Directories {
		facts[dir.Host] = map[string]map[string]string{}
		for _, d := range dir.Domains {
			names := map[string]string{"mx": d.MX, "spf": d.SPF, "autodiscover": d.Autodiscover, "verification": d.Verification}
			for selector, host := range d.DKIM {
				names["dkim."+selector] = host
			}
			for n, v := range names {
				names[n] = strings.TrimSuffix(v, ".")
			}
			facts[dir.Host][d.Name] = names
		}
	}
	return facts
}
