package entra

import "cmp"

// Cloud is where a tenant lives: base URLs without a version, and the host of IMAP. The
// URLs of Graph and Exchange are also the names that tokens are asked for by,
// wherever requests are sent.
type Cloud struct {
	Login, Graph, Exchange string
	IMAP                   string // host name; the port is 993
}

// Clouds by the name that the configuration uses. usgov is GCC High; GCC lives in the global one.
// https://learn.microsoft.com/graph/deployments
var Clouds = map[string]Cloud{
	"global": {"https://login.microsoftonline.com", "https://graph.microsoft.com", "https://outlook.office365.com", "outlook.office365.com"},
	"usgov":  {"https://login.microsoftonline.us", "https://graph.microsoft.us", "https://outlook.office365.us", "outlook.office365.us"},
	"china":  {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn", "https://partner.outlook.cn", "partner.outlook.cn"},
}

func (c Cloud) orGlobal() Cloud {
	g := Clouds["global"]
	return Cloud{cmp.Or(c.Login, g.Login), cmp.Or(c.Graph, g.Graph), cmp.Or(c.Exchange, g.Exchange), cmp.Or(c.IMAP, g.IMAP)}
}
