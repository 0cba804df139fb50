package imap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Diagnosis says what is behind a login that failed, as far as asking again
// can tell. Code is stable.
type Diagnosis struct {
	Code, Detail, Remedy string
}

// The codes of a Diagnosis besides the reasons of providers.Error.
const (
	WrongHost            = "wrong_host"            // another host takes the same name and password
	AppPassword          = "app_password"          // the account wants one, by the server's words
	IMAPOff              = "imap_off"              // by the server's words
	NoSuchHost           = "no_such_host"          // the name has no address
	OtherPort            = "other_port"            // the usual other port answers
	PlainPort            = "plain_port"            // TLS from the first octet, to a port that doesn't speak it
	TLSPort              = "tls_port"              // STARTTLS, to a port that speaks TLS from the first octet
	CertificateExpired   = "certificate_expired"   // or this machine's clock is ahead
	CertificateNotYet    = "certificate_not_yet"   // or this machine's clock is behind
	CertificateName      = "certificate_name"      // it is for other names
	CertificateAuthority = "certificate_authority" // nobody here knows who signed it
)

var (
	wantsAppPassword = regexp.MustCompile(`(?i)application-specific password|app(lication)?[- ]password|log in via your web browser|two[- ]factor|2[- ]?step|\b2fa\b`)
	saysIMAPOff      = regexp.MustCompile(`(?i)imap( access)? (is |has been )?(disabled|not enabled|not activated|deactivated|turned off|switched off|not allowed|blocked)|not enabled for imap|enable imap|activate imap`)
)

// diagnoseTimeout bounds each further attempt.
const diagnoseTimeout = 10 * time.Second

// Diagnose looks behind err, which Connect or Login has returned for a. others
// are hosts of the same provider that take the same passwords; they are tried
// when the password was refused, over the same port and TLS, and nowhere else is a password
// sent. The server's own words come before what is guessed from them.
func (d *Dialer) Diagnose(ctx context.Context, a providers.Account, err error, others []string) Diagnosis {
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		return Diagnosis{Code: "failed", Detail: err.Error()}
	}
	out := Diagnosis{Code: string(e.Reason), Detail: e.Error(), Remedy: e.Remedy}
	switch e.Reason {
	case providers.Authentication:
		d.behindPassword(ctx, a, e, others, &out)
	case providers.Unreachable:
		d.behindSilence(ctx, e, &out)
	case providers.Certificate:
		d.behindCertificate(e, &out)
	case providers.Refused:
		if saysIMAPOff.MatchString(e.Server) {
			out.Code, out.Remedy = IMAPOff, imapOffRemedy
		}
	}
	return out
}

const imapOffRemedy = "switch on IMAP for this mailbox in the host's panel; some hosts want the user to do it"

func (d *Dialer) behindPassword(ctx context.Context, a providers.Account, e *providers.Error, others []string, out *Diagnosis) {
	switch {
	case saysIMAPOff.MatchString(e.Server):
		out.Code, out.Remedy = IMAPOff, imapOffRemedy
		return
	case wantsAppPassword.MatchString(e.Server):
		out.Code, out.Remedy = AppPassword, "make an app password for this mailbox in the host's panel and use it here: with two-factor authentication the usual one is refused over IMAP"
		return
	}
	if e.Err != nil && e.Server == "" {
		return // nothing was sent: no password, or one that can't be
	}
	for _, host := range others {
		if host == d.Host.Hostname {
			continue
		}
		there := *d
		there.Host.Hostname = host
		tried, cancel := context.WithTimeout(ctx, diagnoseTimeout)
		s, err := there.Connect(tried, a)
		cancel()
		if err == nil {
			s.Close()
			out.Code = WrongHost
			out.Detail += "; " + host + " takes the same name and password"
			out.Remedy = "use " + host
			return
		}
	}
	if d.Host.Kind == "ionos" {
		out.Remedy = "the name is the whole address; where the mailbox has two-factor authentication, IMAP wants an app password made in the IONOS panel instead of the usual one"
	}
}

// behindSilence asks whether something else answers.
func (d *Dialer) behindSilence(ctx context.Context, e *providers.Error, out *Diagnosis) {
	if dns, ok := errors.AsType[*net.DNSError](e.Err); ok && dns.IsNotFound {
		out.Code, out.Remedy = NoSuchHost, fmt.Sprintf("%s has no address: look for a typing mistake in host", d.Host.Hostname)
		return
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](e.Err); ok {
		out.Code = PlainPort
		out.Remedy = `this port speaks without TLS first: leave port out (993 is the default), or say tls = "starttls"`
		return
	}
	other := *d
	other.Host.Port = 0
	switch {
	case d.Host.TLS == plan.TLSNone:
		return
	case d.Host.TLS == plan.TLSStart:
		// A server that waits for TLS is silent to who waits for a greeting.
		other.Host.TLS = plan.TLSImplicit
		same := other
		same.Host.Port = d.Host.Port
		if d.Host.Port != 0 && same.answers(ctx) {
			out.Code, out.Remedy = TLSPort, `this port speaks TLS from the first octet: say tls = "implicit"`
			return
		}
		if other.answers(ctx) {
			out.Code, out.Remedy = OtherPort, other.Address()+` answers with TLS from the first octet: take out port and say tls = "implicit"`
		}
	default:
		if d.Address() != other.Address() && other.answers(ctx) {
			out.Code, out.Remedy = OtherPort, other.Address()+" answers: take the port out of the configuration"
			return
		}
		other.Host.TLS = plan.TLSStart
		if other.answers(ctx) {
			out.Code, out.Remedy = OtherPort, other.Address()+` answers, and 993 does not: say tls = "starttls", or open 993 in the firewall`
		}
	}
}

// answers reports whether an IMAP server is there. Nothing but TLS is said to it.
func (d *Dialer) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	raw, err := d.dial(ctx)
	if err != nil {
		return false
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	l := newLink(raw, diagnoseTimeout)
	if d.Host.TLS == plan.TLSStart {
		return d.startTLS(l) == nil
	}
	_, err = d.handshake(ctx, l)
	return err == nil || providers.ReasonOf(err) == providers.Certificate
}

func (d *Dialer) behindCertificate(e *providers.Error, out *Diagnosis) {
	if name, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		out.Code = CertificateName
		if names := name.Certificate.DNSNames; len(names) > 0 {
			out.Remedy = "set host to a name that the certificate holds: " + strings.Join(names[:min(len(names), 5)], ", ")
		}
		return
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		out.Code = CertificateAuthority
		return
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](e.Err)
	if !ok || invalid.Reason != x509.Expired || invalid.Cert == nil {
		return
	}
	if d.Clock == nil {
		out.Code = CertificateExpired
		return
	}
	now := d.Clock.Now()
	at := now.UTC().Format("2 Jan 2006 15:04 MST")
	if now.Before(invalid.Cert.NotBefore) {
		out.Code = CertificateNotYet
		out.Remedy = fmt.Sprintf("the certificate is valid from %s, and here it is %s: set this machine's clock", invalid.Cert.NotBefore.UTC().Format("2 Jan 2006"), at)
		return
	}
	out.Code = CertificateExpired
	out.Remedy = fmt.Sprintf("the certificate ended on %s (here it is %s): the host has to renew it", invalid.Cert.NotAfter.UTC().Format("2 Jan 2006"), at)
}
