// Package smtp hands in notices (RFC 6409) and asks mail exchangers whether
// they take mail for an address (RFC 5321).
//
// The dialogue is spoken here, on net/textproto, because what a caller has to
// know is exactly where it broke: before the message was handed over it may be
// sent again, after it nobody can tell (RFC 5321 §4.2.5).
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// DialFunc opens a connection; (*net.Dialer).DialContext is one.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// maxReplies bounds what one server may say in one session, so that an endless
// reply ends as an error and not in memory.
const maxReplies = 1 << 20

// session is one SMTP connection. It is not safe for concurrent use.
type session struct {
	server   string // host:port, for messages
	greeting string // its first reply
	conn     net.Conn
	text     *textproto.Conn
	ext      map[string]string // EHLO keywords, upper case
	secure   bool
	stop     func() bool // takes the context's hand off the connection
}

// dial connects and greets. The context ends everything that is done on the
// session, not the dialling alone.
func dial(ctx context.Context, d DialFunc, server string, config *tls.Config) (*session, error) {
	if d == nil {
		d = (&net.Dialer{}).DialContext
	}
	conn, err := d(ctx, "tcp", server)
	if err != nil {
		return nil, &providers.Error{Op: "connect to", Subject: server, Reason: providers.Unreachable, Err: err,
			Remedy: "check host and port, and whether outgoing connections to that port are allowed from here"}
	}
	s := &session{server: server}
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if config != nil {
		if conn, err = s.handshake(ctx, conn, config); err != nil {
			return nil, err
		}
	}
	s.use(conn)
	if s.greeting, err = s.reply(ctx, "greeting of", 220); err != nil {
		s.close()
		return nil, err
	}
	if err := s.hello(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.text = textproto.NewConn(struct {
		io.Reader
		io.Writer
		io.Closer
	}{io.LimitReader(conn, maxReplies), conn, conn})
}

func (s *session) handshake(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	t := tls.Client(conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		s.stop()
		conn.Close()
		return nil, s.tlsError(err)
	}
	s.secure = true
	return t, nil
}

func (s *session) tlsError(err error) error {
	e := &providers.Error{Op: "start TLS with", Subject: s.server, Reason: providers.Certificate, Err: err,
		Remedy: "the server's certificate has to be valid for its name, and TLS 1.2 or above has to be spoken without a certificate of our own; nothing was sent to it"}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	switch {
	case unknown:
		e.Remedy = "name the issuing certificate in ca_file"
	case name:
		e.Remedy = "set host to a name that the certificate holds"
	case record:
		e.Remedy = "the port doesn't begin with TLS: set tls = \"starttls\" (usually port 587)"
	}
	return e
}

// hello sends EHLO with the address literal of our end (RFC 5321 §4.1.4),
// which is true everywhere, unlike a host name.
func (s *session) hello(ctx context.Context) error {
	msg, err := s.command(ctx, "greet", 250, "EHLO %s", literal(s.conn.LocalAddr()))
	if err != nil {
		return err
	}
	s.ext = map[string]string{}
	for _, line := range strings.Split(msg, "\n")[1:] {
		key, params, _ := strings.Cut(line, " ")
		s.ext[strings.ToUpper(key)] = params
	}
	return nil
}

func literal(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	switch {
	case !ok:
		return "[127.0.0.1]"
	case tcp.IP.To4() != nil:
		return "[" + tcp.IP.String() + "]"
	}
	return "[IPv6:" + tcp.IP.String() + "]"
}

// startTLS upgrades the connection (RFC 3207). It never goes on in clear.
func (s *session) startTLS(ctx context.Context, config *tls.Config) error {
	if _, ok := s.ext["STARTTLS"]; !ok {
		return &providers.Error{Op: "start TLS with", Subject: s.server, Reason: providers.Certificate,
			Err:    errors.New("the server offers no STARTTLS"),
			Remedy: "set tls = \"implicit\" (usually port 465); something between here and the server may also strip STARTTLS"}
	}
	if _, err := s.command(ctx, "start TLS with", 220, "STARTTLS"); err != nil {
		if e, ok := errors.AsType[*providers.Error](err); ok && e.Server != "" {
			e.Remedy = "the connection is never used without TLS; if the server offers port 465, set tls = \"implicit\""
		}
		return err
	}
	// What came in clear behind the 220 was not said by who holds the
	// certificate (CVE-2011-0411).
	if s.text.R.Buffered() > 0 {
		return &providers.Error{Op: "start TLS with", Subject: s.server, Reason: providers.Protocol,
			Err: errors.New("data in clear after STARTTLS"), Remedy: "something between here and the server talks into the connection: set tls = \"implicit\" (usually port 465)"}
	}
	conn, err := s.handshake(ctx, s.conn, config)
	if err != nil {
		return err
	}
	s.use(conn)
	return s.hello(ctx)
}

// command sends one line and reads its reply, whose code must begin with the
// digits of want.
func (s *session) command(ctx context.Context, op string, want int, format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	if strings.ContainsAny(line, "\r\n\x00") {
		return "", &providers.Error{Op: op, Subject: s.server, Reason: providers.BadMessage, Err: errors.New("a control character in a command")}
	}
	if err := s.text.PrintfLine("%s", line); err != nil {
		return "", s.broken(ctx, op, err)
	}
	return s.reply(ctx, op, want)
}

func (s *session) reply(ctx context.Context, op string, want int) (string, error) {
	_, msg, err := s.text.ReadResponse(want)
	if err == nil {
		return msg, nil
	}
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		refused := refusal(op, s.server, e.Code, e.Msg)
		refused.Remedy = "see what the server says"
		return "", refused
	}
	return "", s.broken(ctx, op, err)
}

// broken is the error of a connection that ended in the middle. When the
// context ended it, that is the cause.
func (s *session) broken(ctx context.Context, op string, err error) error {
	reason := providers.Unreachable
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		reason = providers.Protocol
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the connection")
	}
	remedy := "the connection broke off: try again"
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		remedy = "the server ends TLS: spoken here is 1.2 and above, without a certificate of our own"
	}
	return &providers.Error{Op: op, Subject: s.server, Reason: reason, Err: err, Remedy: remedy}
}

// quit says goodbye without waiting for more than the connection gives.
func (s *session) quit(ctx context.Context) {
	_, _ = s.command(ctx, "quit", 221, "QUIT")
	s.close()
}

func (s *session) close() {
	s.stop()
	s.conn.Close()
}

// refusal classifies a reply by its codes (RFC 5321 §4.2, RFC 3463) and keeps
// the server's words.
func refusal(op, subject string, code int, msg string) *providers.Error {
	e := &providers.Error{Op: op, Subject: subject, Server: fmt.Sprintf("%d %s", code, strings.ReplaceAll(msg, "\n", " / "))}
	status, _, _ := strings.Cut(msg, " ")
	class, detail, enhanced := strings.Cut(status, ".")
	if !enhanced || class != fmt.Sprint(code/100) {
		detail = ""
	}
	lower := strings.ToLower(msg)
	switch {
	case detail == "2.2":
		e.Reason = providers.OverQuota
	case detail == "3.4" || code == 552:
		e.Reason = providers.TooLarge
	case code == 421 && strings.Contains(lower, "connection"), detail == "7.0" && strings.Contains(lower, "too many connections"):
		e.Reason = providers.TooMany
	case code/100 == 4:
		e.Reason = providers.Throttled
	case code == 530, code == 534, code == 535, code == 538:
		e.Reason = providers.Authentication
	case detail == "1.1", detail == "1.10", detail == "1.2", code == 550 && !strings.HasPrefix(detail, "7."), code == 551, code == 553:
		e.Reason = providers.NotFound
	case strings.HasPrefix(detail, "6."):
		e.Reason = providers.BadMessage
	default:
		e.Reason = providers.Refused
	}
	return e
}

// hostPort is the server's address, with the port of its kind of TLS when none is said.
func hostPort(s plan.SMTPServer) string {
	port := s.Port
	if port == 0 {
		port = 465
		if s.TLS == plan.TLSStart {
			port = 587
		}
	}
	return net.JoinHostPort(s.Host, fmt.Sprint(port))
}

// loopback reports whether host names this machine alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
