package microsoft365test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// Mailboxes is the IMAP side of a tenant: Exchange Online as it has been seen. The zero IMAPTrouble is a
// server on its best behaviour; even then it keeps five flags, no keywords, and names
// without regard to case.
type Mailboxes struct {
	*imaptest.Double

	mu      sync.Mutex
	trouble IMAPTrouble
	sent    int             // messages that were appended, refused ones too
	fetched int             // messages that were fetched
	asked   int             // commands
	dead    map[string]bool // tokens whose sessions were ended
	used    map[string]bool // tokens with which sessions were opened
	logins  int
}

// IMAPOptions are what the mailboxes need from the tenant. The functions have to be safe for
// concurrent use.
type IMAPOptions struct {
	// Token says whether the host takes a token at all ("AUTHENTICATE failed." else).
	Token func(mailbox, token string) bool
	// Opens says whether the mailbox may be opened by it: it exists, its IMAP is on, and the
	// application has full access ("User is authenticated but not connected." else). nil = every one that exists.
	Opens func(mailbox, token string) bool
	// Limit is the largest message in octets that a mailbox takes, 0 = 36 MB, the default of
	// MaxReceiveSize with the room that encoding takes (vendor's figure for IMAP: about 45,000,000).
	Limit   func(mailbox string) int64
	Clock   func() time.Time
	Trouble IMAPTrouble
}

// IMAPTrouble are the unpleasant behaviours, each by itself.
type IMAPTrouble struct {
	ThrottleAppends int           // every nth APPEND is refused once: "Request is throttled", NO
	ThrottleFetches int           // every nth command that reads, with BAD
	ThrottleLogins  int           // every nth login
	RefuseLogins    int           // so many logins after the first are refused, although the token is good
	RefuseFirst     int           // so many logins from the first on are refused, although the token is good
	Backoff         time.Duration // the time that it names, 0 = 250 ms
	SizeAsBAD       bool          // a message that is too large is "Command Argument Error. 11"
	ErrorLimit      bool          // the tenth refusal ends the session
	LoseAppends     int           // every nth APPEND gets no answer, and is not stored
	CutAppends      int           // every nth APPEND gets no answer, and is stored
	LateAppends     int           // every nth APPEND gets no answer, and is stored a little later
	NoUID           int           // every nth APPEND is answered without APPENDUID
	Render          Rendering     // what comes back of a message
	StoredSize      bool          // RFC822.SIZE is the space that a message takes, not its octets
	MixItems        bool          // FETCH items in another order
	Rev2            bool          // IMAP4rev2 and ENABLE are offered; whoever switches it on gets wrong answers
	NonMail         bool          // Calendar, Notes and the like show up in LIST
	Hidden          bool          // folder "Files" is listed, with items that have no header
	LoseDates       bool          // messages get the time at which they came
	LoseFlags       bool          // messages come without the flags they were sent with
	ExpireMidway    int           // at the nth message of FETCHes, the 2nth, 4nth and so on, the session's token ends
}

// Rendering is how much of a message's octets Exchange keeps.
type Rendering int

// The renderings.
const (
	KeepsOctets Rendering = iota
	Renders               // headers folded anew, boundaries and encodings of its own, fields added
)

const (
	exchangeLimit = 45_000_000
	lateBy        = 300 * time.Millisecond
)

// nonMail are folders that hold no mail.
var nonMail = []string{"Calendar", "Contacts", "Journal", "Notes", "Outbox", "Tasks"}

// NewMailboxes starts the server, with implicit TLS.
func NewMailboxes(o IMAPOptions) (*Mailboxes, error) {
	m := &Mailboxes{trouble: o.Trouble, dead: map[string]bool{}, used: map[string]bool{}}
	t := &m.trouble
	if t.Backoff == 0 {
		t.Backoff = 250 * time.Millisecond
	}
	manners := imaptest.Manners{
		Greeting: "The Microsoft Exchange IMAP4 service is ready. [TQBOADIAUABSADAAMQBDAEEAMAAwADANwA=]",
		Before:   strings.Fields("AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"),
		After: strings.Fields("AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION " +
			"BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+"),
		ID:    `"name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20"`,
		Inbox: "Inbox",
		Folders: []imaptest.Standing{
			{Name: "Archive", Attributes: []string{`\HasNoChildren`}},
			{Name: "Deleted Items", Attributes: []string{`\HasNoChildren`, `\Trash`}},
			{Name: "Drafts", Attributes: []string{`\Marked`, `\HasNoChildren`, `\Drafts`}},
			{Name: "Junk Email", Attributes: []string{`\HasNoChildren`, `\Junk`}},
			{Name: "Sent Items", Attributes: []string{`\HasNoChildren`, `\Sent`}},
		},
		FoldNames: true,
		RefuseName: func(name string) string {
			first, _, _ := strings.Cut(name, "/")
			if strings.EqualFold(first, "Files") {
				return "NO Folder name is reserved"
			}
			for level := range strings.SplitSeq(name, "/") {
				if strings.TrimSpace(level) != level {
					return "BAD Command Argument Error. 11"
				}
			}
			return ""
		},
		Permanent:  []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, "$MDNSent"},
		RefuseFlag: "BAD Command Argument Error. 11",
		Token:      func(user, token string) (string, string) { return m.login(o, user, token) },
		Command:    func(c *imaptest.Visitor, name string) string { return m.command(o, c, name) },
		Midway:     func(c *imaptest.Visitor) string { return m.midway(o, c) },
		Append:     func(_ *imaptest.Visitor, _ string, s *imaptest.Stored) imaptest.Fate { return m.append(s) },
		MixItems:   t.MixItems,
		Bye:        "Connection closed. 14",
		Unknown:    func(string) string { return "BAD Command Argument Error. 11" },
	}
	limit := int64(exchangeLimit)
	manners.TooLarge = func(size int64) string {
		if o.Limit != nil {
			limit = o.Limit("")
		}
		switch {
		case size <= limit:
			return ""
		case t.SizeAsBAD:
			return "BAD Command Argument Error. 11"
		}
		return "NO Maximum size of appendable message has been exceeded"
	}
	if t.ErrorLimit {
		manners.ErrorLimit = 10
	}
	if t.Rev2 {
		manners.After = append(manners.After, "ENABLE", "IMAP4rev2")
	}
	if t.StoredSize {
		manners.Size = func(octets []byte) int { return len(octets)*216/100 + 17 } // seen: 93,995 for 43,498
	}
	if t.NonMail {
		for _, name := range nonMail {
			manners.Folders = append(manners.Folders, imaptest.Standing{Name: name, Attributes: []string{`\HasNoChildren`}})
		}
	}
	if t.Hidden {
		manners.Folders = append(manners.Folders, imaptest.Standing{Name: "Files", Attributes: []string{`\HasNoChildren`}})
	}
	var err error
	m.Double, err = imaptest.NewDouble(manners, true, o.Clock)
	return m, err
}

// Logins is how many sessions were opened.
func (m *Mailboxes) Logins() int { m.mu.Lock(); defer m.mu.Unlock(); return m.logins }

func (m *Mailboxes) login(o IMAPOptions, user, token string) (refusal, challenge string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logins++
	if every(m.logins, m.trouble.ThrottleLogins) {
		return "NO " + m.busy(), ""
	}
	if m.logins <= m.trouble.RefuseFirst || m.logins > 1 && m.logins <= 1+m.trouble.RefuseLogins {
		return "NO AUTHENTICATE failed.", ""
	}
	if m.dead[token] || o.Token != nil && !o.Token(user, token) {
		// No reason is ever given: a wrong scope, a missing consent and a mailbox that isn't ready look alike.
		return "NO AUTHENTICATE failed.", ""
	}
	m.used[token] = true
	return "", ""
}

// Used reports whether a session has been opened with a token.
func (m *Mailboxes) Used(token string) bool { m.mu.Lock(); defer m.mu.Unlock(); return m.used[token] }

func every(n, nth int) bool { return nth > 0 && n%nth == 0 }

func isPower(n int) bool { return n&(n-1) == 0 }

func (m *Mailboxes) busy() string {
	return fmt.Sprintf("Request is throttled. Suggested Backoff Time: %d milliseconds", m.trouble.Backoff.Milliseconds())
}

// command is asked before every command of a session that is logged in.
func (m *Mailboxes) command(o IMAPOptions, c *imaptest.Visitor, name string) string {
	if !m.Has(c.User) || o.Opens != nil && !o.Opens(c.User, c.Token) {
		return "BAD User is authenticated but not connected."
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead[c.Token] || o.Token != nil && !o.Token(c.User, c.Token) {
		return "* BYE Session invalidated - AccessTokenExpired"
	}
	switch name {
	case "ENABLE":
		return "BAD IMAP4rev2 was switched on by the client"
	case "UID FETCH", "STATUS", "LIST":
		if m.asked++; every(m.asked, m.trouble.ThrottleFetches) {
			return "BAD " + m.busy()
		}
	}
	return ""
}

func (m *Mailboxes) midway(o IMAPOptions, c *imaptest.Visitor) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fetched++; every(m.fetched, m.trouble.ExpireMidway) && isPower(m.fetched/m.trouble.ExpireMidway) {
		m.dead[c.Token] = true
	}
	if m.dead[c.Token] || o.Token != nil && !o.Token(c.User, c.Token) {
		return "* BYE Session invalidated - AccessTokenExpired"
	}
	return ""
}

func (m *Mailboxes) append(s *imaptest.Stored) imaptest.Fate {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
	t := &m.trouble
	if every(m.sent, t.ThrottleAppends) {
		return imaptest.Fate{Answer: "NO " + m.busy()}
	}
	if longestLine(s.Octets) > 10_500 {
		return imaptest.Fate{Answer: "BAD Command Argument Error. 11"}
	}
	if t.LoseDates {
		s.Date = time.Now()
	}
	if t.LoseFlags {
		clear(s.Flags)
	}
	if t.Render == Renders {
		s.Octets = Render(s.Octets)
	}
	switch {
	case every(m.sent, t.LoseAppends):
		return imaptest.Fate{Lost: true}
	case every(m.sent, t.CutAppends):
		return imaptest.Fate{Cut: true}
	case every(m.sent, t.LateAppends):
		return imaptest.Fate{Late: lateBy}
	}
	return imaptest.Fate{NoUID: every(m.sent, t.NoUID)}
}

func longestLine(octets []byte) int {
	longest := 0
	for line := range strings.SplitSeq(string(octets), "\n") {
		longest = max(longest, len(line))
	}
	return longest
}

// Expire makes a token worthless: its sessions end with their next command.
func (m *Mailboxes) Expire(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead[token] = true
}

// Sent reports whether a command that begins so was received.
func (m *Mailboxes) Received(command string) bool {
	return slices.ContainsFunc(m.Commands(), func(c string) bool { return strings.HasPrefix(strings.ToUpper(c), command) })
}
