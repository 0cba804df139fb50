package ionostest

import (
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// Mail is a double of IONOS's IMAP hosts: United Internet's own server, with a strict parser, without
// CONDSTORE and with LITERAL-, whose refusals carry no codes. Deliver and Snapshot are those of
// imaptest.Double.
type Mail struct {
	*imaptest.Double
	passwords *passwords
}

// MailOptions choose how the mail hosts behave.
type MailOptions struct {
	TLS   bool
	Clock func() time.Time
	// SwitchedOff are accounts whose owner has not allowed IMAP.
	SwitchedOff map[string]bool
	// MaxLogins is how many logins the host takes in a minute before it calls them too many, 0 = any number.
	MaxLogins int
}

// Sent is what IONOS calls its folder of sent mail in Germany.
const Sent = "Gesendete Objekte"

// NewMail starts the server.
func NewMail(o MailOptions) (*Mail, error) {
	m := &Mail{passwords: &passwords{of: map[string]string{}, options: o}}
	capabilities := strings.Fields("CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN")
	d, err := imaptest.NewDouble(imaptest.Manners{
		Greeting: "[CAPABILITY IMAP4rev1 " + strings.Join(capabilities, " ") + "] IMAP server ready H mieue154 15.6 IMAP-1My4Ij-1k2Oa32EiF-00yVN8",
		Before:   capabilities,
		After:    capabilities,
		Folders: []imaptest.Standing{
			{Name: Sent, Attributes: []string{`\HasNoChildren`, `\Sent`}},
			{Name: "Entwürfe", Attributes: []string{`\HasNoChildren`, `\Drafts`}},
			{Name: "Papierkorb", Attributes: []string{`\HasNoChildren`, `\Trash`}},
			{Name: "Spam", Attributes: []string{`\HasNoChildren`, `\Junk`}},
		},
		Permanent: []string{`\Answered`, `\Deleted`, `\Draft`, `\Flagged`, `\Seen`, `\*`},
		Login:     m.passwords.check,
		Unknown: func(what string) string {
			if strings.EqualFold(what, "MODSEQ") || strings.EqualFold(what, "CHANGEDSINCE") {
				return `BAD expected fetch-att instead of "MODSEQ BODY.P"`
			}
			return `BAD expected command instead of "` + what + `"`
		},
	}, o.TLS, o.Clock)
	if err != nil {
		return nil, err
	}
	m.Double = d
	return m, nil
}

// AddAccount makes an account with INBOX and the folders that every one has.
func (m *Mail) AddAccount(name, password string) {
	m.passwords.set(name, password)
	m.Double.AddAccount(name)
}

// Enable makes the server take the account's logins with that password again.
func (m *Mail) Enable(name, password string) { m.passwords.set(name, password) }

// Disable makes the server refuse the account's logins from now on.
func (m *Mail) Disable(name string) { m.passwords.set(name, "") }
