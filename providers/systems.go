package providers

// Systems is everything outside that one migration touches, wired from its
// configuration. Keys are those of the configuration (plan.Host.Key). A key
// that the configuration doesn't hold, or a kind no provider serves, is an error.
type Systems interface {
	Source(key string) (MailHost, error)
	Target(key string) (MailHost, error)
	// Directory is that of a target which has one; ok is false for one that has none.
	Directory(key string) (d Directory, ok bool)
	// Zone is the zone that holds the domain's records.
	Zone(domain string) (Zone, error)
	NameServers(domain string) (NameServers, error)
	Copier() Copier
	Notifier(name string) (Notifier, error)
	RecipientProbe() RecipientProbe
	Probes
}

// Probes are the systems that only probes need.
type Probes interface {
	// Correspondent is the outside account of the probe of that name.
	Correspondent(probe string) (Correspondent, error)
	MailExchange() MailExchange
	// Submission is where mailboxes of the target send mail; nil where the
	// configuration names no such server.
	Submission(target string) (Submission, error)
	// Signatures verifies what mail of the domain is signed with.
	Signatures(domain string) (Signatures, error)
}
