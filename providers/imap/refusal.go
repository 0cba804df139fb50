package imap

import (
	"regexp"
	"strconv"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// The words of refusals, as servers send them. Codes (RFC 5530, RFC 7889, RFC
// 4469) decide first; but codes are missing at many hosts, and some lie:
// Gmail says OVERQUOTA for bandwidth, and busy hosts say AUTHENTICATIONFAILED
// when an account has too many connections.
var (
	tooMany   = regexp.MustCompile(`(?i)too many (simultaneous |concurrent )?(connections|logins|sessions)|maximum number of connections|connection limit|too many login attempts`)
	throttled = regexp.MustCompile(`(?i)throttled|suggested backoff|bandwidth|try again|temporar(y|ily)|rate limit|unexpected exception|server busy|internal error occurred`)
	bandwidth = regexp.MustCompile(`(?i)bandwidth`)
	backoff   = regexp.MustCompile(`(?i)suggested backoff time:?\s*(\d{1,10})\s*milliseconds`)
	password  = regexp.MustCompile(`(?i)log ?in failed|invalid (credentials|user|login)|authenticat(e|ion) failed|wrong password|bad (username|password)|application-specific password|log in via your web browser|authenticated but not connected|accesstokenexpired|authorization failed`)
	tooLarge  = regexp.MustCompile(`(?i)maximum size of appendable message|maximum message size|message (is )?too (large|big)|literal size too large|size limit|literals are limited`)
	quota     = regexp.MustCompile(`(?i)quota|server unavailable\. 15|mailbox is full|not enough (disk )?space`)
	malformed = regexp.MustCompile(`(?i)invalid header|nul characters?|bare (newline|lf|cr)|command argument error\. 1[12]\b|8-?bit|malformed message|invalid message|can't save a zero byte message`)
	missing   = regexp.MustCompile(`(?i)(mailbox|folder) (doesn't|does not) exist|no such (mailbox|folder)|unknown (mailbox|folder)|nonexistent mailbox`)
	exists    = regexp.MustCompile(`(?i)already exists?`)
)

// byCode are the response codes that need no second look.
var byCode = map[string]providers.Reason{
	"AUTHORIZATIONFAILED": providers.Authentication,
	"EXPIRED":             providers.Authentication,
	"PRIVACYREQUIRED":     providers.Refused,
	"TOOBIG":              providers.TooLarge,
	"TRYCREATE":           providers.NotFound,
	"NONEXISTENT":         providers.NotFound,
	"ALREADYEXISTS":       providers.Conflict,
	"INUSE":               providers.Throttled,
	"THROTTLED":           providers.Throttled,
	"SERVERBUG":           providers.Throttled,
	"NOPERM":              providers.Refused,
	"CANNOT":              providers.Refused,
	"READ-ONLY":           providers.Refused,
	"CONTACTADMIN":        providers.Refused,
	"CLIENTBUG":           providers.Refused,
}

// reasonFor classifies a refusal by code, then by text. What is in neither is Refused.
func reasonFor(op string, st wire.Status) providers.Reason {
	text := st.Text
	switch st.Code {
	case "AUTHENTICATIONFAILED":
		switch {
		case tooMany.MatchString(text):
			return providers.TooMany
		case backoff.MatchString(text):
			return providers.Throttled
		}
		return providers.Authentication
	case "OVERQUOTA":
		if bandwidth.MatchString(text) {
			return providers.Throttled
		}
		return providers.OverQuota
	case "LIMIT", "UNAVAILABLE":
		if tooMany.MatchString(text) {
			return providers.TooMany
		}
		return providers.Throttled
	}
	if r, ok := byCode[st.Code]; ok {
		return r
	}
	switch {
	case backoff.MatchString(text):
		return providers.Throttled
	case tooMany.MatchString(text):
		return providers.TooMany
	case password.MatchString(text):
		return providers.Authentication
	case tooLarge.MatchString(text):
		return providers.TooLarge
	case quota.MatchString(text):
		return providers.OverQuota
	case malformed.MatchString(text):
		// Exchange Online has one text for a bad password and for a message it won't take.
		if op == "log in" {
			return providers.Authentication
		}
		return providers.BadMessage
	case throttled.MatchString(text):
		return providers.Throttled
	case missing.MatchString(text):
		return providers.NotFound
	case exists.MatchString(text):
		return providers.Conflict
	case op == "log in" && st.Kind == "NO":
		// RFC 3501 §6.2.3: NO to a login is "user name or password rejected".
		return providers.Authentication
	}
	return providers.Refused
}

var remedies = map[providers.Reason]string{
	providers.Authentication: "check the name and the password; many hosts want an app password and IMAP switched on for the account",
	providers.TooMany:        "close other programs that use the account, or lower limits { connections_per_mailbox } of the host",
	providers.Throttled:      "nothing: it is tried again after the time the server asked for",
	providers.TooLarge:       "raise the size limit at the host, or let the message be quarantined",
	providers.OverQuota:      "give the account more space at the host",
	providers.NotFound:       "create the folder, or look whether it was renamed",
}

// bandwidthPause is how long to leave an account alone whose octets of a day are used up: Gmail gives 2,500 MB to
// read and 500 MB to write, and names no time (https://support.google.com/a/answer/1071518).
const bandwidthPause = time.Hour

// refusal is the error for a NO, a BAD or a BYE.
func refusal(op, subject string, st wire.Status) *providers.Error {
	e := &providers.Error{Op: op, Subject: subject, Reason: reasonFor(op, st), Server: st.Words()}
	e.Remedy = remedies[e.Reason]
	if e.Server == "" {
		e.Server = st.Kind
	}
	if m := backoff.FindStringSubmatch(st.Text); m != nil {
		ms, _ := strconv.ParseInt(m[1], 10, 64)
		e.Wait = time.Duration(ms) * time.Millisecond
	}
	if e.Reason == providers.Throttled && e.Wait == 0 && bandwidth.MatchString(st.Text) {
		e.Wait = bandwidthPause
		e.Remedy = "nothing: the host counts octets by the day, and the copy goes on when it lets it"
	}
	return e
}
