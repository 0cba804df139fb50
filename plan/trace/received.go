package trace

import (
	"net/mail"
	"net/netip"
	"strings"
	"time"
)

// Hop is one Received field: that By took the message from From.
type Hop struct {
	Name string     // what the sending host called itself (EHLO)
	Host string     // its name by the DNS, as the receiver looked it up; "" when it says none
	IP   netip.Addr // its address as the receiver saw it; invalid when it says none
	By   string     // who took it
	With string     // protocol, upper case: "ESMTPS", "LMTP"
	At   time.Time  // zero when it can't be read
}

// Sender is how the sending host is called in lists: the name that its receiver
// looked up, else its address, else what it calls itself.
func (h Hop) Sender() string {
	switch {
	case h.Host != "":
		return h.Host
	case h.IP.IsValid():
		return h.IP.String()
	}
	return h.Name
}

// ParseReceived reads the value of a Received field. Servers write it in many
// ways (Postfix, Exim, Exchange, qmail, Nemesis); what is not there stays empty.
func ParseReceived(value string) Hop {
	var h Hop
	body := value
	if i := strings.LastIndexByte(value, ';'); i >= 0 {
		body = value[:i]
		if at, err := mail.ParseDate(strings.TrimSpace(value[i+1:])); err == nil {
			h.At = at.UTC()
		}
	}
	clause := ""
	for _, t := range tokens(body, ";") {
		word := strings.ToLower(t.text)
		switch {
		case t.kind == 'w' && (word == "from" || word == "by" || word == "with" || word == "id" || word == "for" || word == "via"):
			clause = word
		case clause == "from" && t.kind == 'c':
			h.aside(t.text)
		case clause == "from" && t.kind == 'w' && h.Name == "":
			h.Name = hostOf(t.text)
			h.address(t.text)
		case clause == "by" && t.kind == 'w' && h.By == "":
			h.By = hostOf(t.text)
		case clause == "with" && t.kind == 'w' && h.With == "":
			h.With = strings.ToUpper(t.text)
		}
	}
	return h
}

// aside reads the comment behind a sending host's name: "host [192.0.2.1]",
// "[192.0.2.1]:25 helo=name", "HELO name", "192.0.2.1".
func (h *Hop) aside(comment string) {
	words := strings.Fields(comment)
	for i, w := range words {
		key, value, pair := strings.Cut(w, "=")
		switch {
		case strings.EqualFold(w, "helo") || strings.EqualFold(w, "ehlo"):
			if i+1 < len(words) {
				h.Name = hostOf(words[i+1])
			}
			return
		case pair && (strings.EqualFold(key, "helo") || strings.EqualFold(key, "ehlo")):
			h.Name = hostOf(value)
		case pair:
		case h.address(w):
		case i == 0 && h.Host == "" && strings.Contains(w, ".") && !strings.EqualFold(w, "unknown"):
			h.Host = hostOf(w)
		}
	}
}

// address takes note of an address in any of the forms of RFC 5321 §4.1.3 and
// of those without brackets, with or without a port.
func (h *Hop) address(w string) bool {
	w = strings.Trim(w, ",;")
	if in, after, ok := strings.Cut(w, "]"); ok && strings.HasPrefix(in, "[") && (after == "" || strings.HasPrefix(after, ":")) {
		w = in[1:]
	}
	w = strings.TrimPrefix(strings.TrimPrefix(w, "IPv6:"), "ipv6:")
	ip, err := netip.ParseAddr(w)
	if err != nil {
		return false
	}
	if !h.IP.IsValid() {
		h.IP = ip.Unmap().WithZone("")
	}
	return true
}

// hostOf is a host's name in lower case, without the final dot.
func hostOf(w string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(w, "[],;"), "."))
}

// Hops are the Received fields from the top: the newest first.
func Hops(fields []Field) []Hop {
	var list []Hop
	for _, v := range Values(fields, "Received") {
		list = append(list, ParseReceived(v))
	}
	return list
}

// Border is the hop by which a message came into the house that stored it: the
// oldest of the newest hops that were written by that house. exchangers are the names
// of its MX hosts, as far as they are known; a hop that one of them wrote is the border. All
// older fields may be anybody's invention. ok is false when no hop tells a sender.
func Border(hops []Hop, exchangers []string) (h Hop, ok bool) {
	house := map[string]bool{}
	for _, x := range exchangers {
		house[organisation(hostOf(x))] = true
	}
	for _, hop := range hops {
		// The message's own server may write another name than the MX has.
		if len(house) == 0 || !ok && hop.By != "" && !house[organisation(hop.By)] {
			house[organisation(hop.By)] = true
		}
		if hop.By != "" && !house[organisation(hop.By)] {
			break
		}
		// A filter that hands mail on from within the house is no sender, where there is any other.
		inside := hop.IP.IsValid() && (hop.IP.IsLoopback() || hop.IP.IsPrivate())
		if hop.Sender() == "" || strings.Contains(hop.With, "LMTP") || inside && ok {
			continue
		}
		h, ok = hop, true
		for _, x := range exchangers {
			if hostOf(x) == hop.By && !inside {
				return h, true
			}
		}
	}
	return h, ok
}

// organisation is a host's name without its first labels: what hosts of one house
// have in common. It needs no list of public suffixes to be of use here: names
// under such a suffix have three labels or more.
func organisation(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	labels := strings.Split(host, ".")
	n := 2
	if len(labels) > 2 && len(labels[len(labels)-1]) == 2 && len(labels[len(labels)-2]) <= 3 {
		n = 3 // host.example.co.uk
	}
	return strings.Join(labels[max(0, len(labels)-n):], ".")
}
