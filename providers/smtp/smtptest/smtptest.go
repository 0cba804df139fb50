// Package smtptest is an SMTP server on a loopback port for tests and for the
// demo: it takes mail for the addresses it was given, keeps it, and can be told
// to misbehave. StartPostfix starts a real mail server instead.
package smtptest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Config is what a Server is started with.
type Config struct {
	// Listen is where the server listens, "" = a random port of 127.0.0.1.
	Listen string
	// Addresses are the recipients that are taken; all others get 550 5.1.1.
	Addresses []string
	// AcceptAll takes every recipient, as some mail exchangers do.
	AcceptAll bool
	// Deliver, when it is set, is called with each message before it is
	// acknowledged; its error becomes a 451. Calls may overlap.
	Deliver func(Message) error
	// TLS switches TLS on: STARTTLS, or from the first octet with Implicit.
	TLS      *tls.Config
	Implicit bool
	// Username and Password, when set, must be given before MAIL FROM:
	// AUTH PLAIN, in clear too, since this is loopback.
	Username, Password string
}

// Message is one message as it was handed in.
type Message struct {
	From string
	To   []string
	Data []byte // with CRLF line ends
}

// Server is a running sink. All methods are safe for concurrent use.
type Server struct {
	Addr string // host:port
	Host string
	Port int

	config   Config
	server   *smtp.Server
	listener net.Listener

	mu        sync.Mutex
	addresses map[string]bool
	messages  []Message
	probed    []string
	tempfail  int
	drop      int
	dropKeeps bool
}

// Start listens at c.Listen and serves until Close.
func Start(c Config) (*Server, error) { return start(c, false) }

func start(c Config, lmtp bool) (*Server, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	s := &Server{Addr: l.Addr().String(), Host: "127.0.0.1", Port: port, config: c, addresses: map[string]bool{}}
	s.Accept(c.Addresses...)
	s.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{server: s, conn: c, authorised: s.config.Username == ""}, nil
	}))
	s.server.Domain = "sink.invalid"
	s.server.LMTP = lmtp
	s.server.AllowInsecureAuth = true
	s.server.EnableSMTPUTF8 = true
	s.server.MaxMessageBytes = 32 << 20
	s.server.ErrorLog = log.New(io.Discard, "", 0)
	if c.TLS != nil {
		s.server.TLSConfig = c.TLS
		if c.Implicit {
			l = tls.NewListener(l, c.TLS)
		}
	}
	s.listener = l
	go s.server.Serve(l) //nolint:errcheck // ends with Close
	return s, nil
}

// Close stops the server and cuts its connections.
func (s *Server) Close() error {
	s.listener.Close()
	return s.server.Close()
}

// Accept adds recipients that are taken.
func (s *Server) Accept(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addresses {
		s.addresses[strings.ToLower(a)] = true
	}
}

// Refuse takes recipients out again.
func (s *Server) Refuse(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addresses {
		delete(s.addresses, strings.ToLower(a))
	}
}

// TempFail answers the next n RCPT commands with 451 4.7.1, as greylisting does.
func (s *Server) TempFail(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tempfail = n
}

// DropAfterData cuts the connection of the next n messages behind their last
// octet, without an answer. keep says whether the message was taken all the same.
func (s *Server) DropAfterData(n int, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop, s.dropKeeps = n, keep
}

// Messages returns what was taken so far, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Asked returns the recipients of all RCPT commands so far, taken or not.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.probed)
}

type session struct {
	server     *Server
	conn       *smtp.Conn
	authorised bool
	from       string
	to         []string
}

func (s *session) AuthMechanisms() []string {
	if s.server.config.Username == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != s.server.config.Username || password != s.server.config.Password {
			return smtp.ErrAuthFailed
		}
		s.authorised = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.authorised {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	srv := s.server
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.probed = append(srv.probed, to)
	if srv.tempfail > 0 {
		srv.tempfail--
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, come back later"}
	}
	if !srv.config.AcceptAll && !srv.addresses[strings.ToLower(to)] {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	}
	s.to = append(s.to, to)
	return nil
}

var errDropped = errors.New("dropped")

func (s *session) Data(r io.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	msg := Message{From: s.from, To: slices.Clone(s.to), Data: b.Bytes()}
	srv := s.server
	srv.mu.Lock()
	dropped := srv.drop > 0
	keep := !dropped || srv.dropKeeps
	if dropped {
		srv.drop--
	}
	srv.mu.Unlock()
	if keep && srv.config.Deliver != nil {
		if err := srv.config.Deliver(msg); err != nil {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Delivery failed: " + err.Error()}
		}
	}
	if keep {
		srv.mu.Lock()
		srv.messages = append(srv.messages, msg)
		srv.mu.Unlock()
	}
	if dropped {
		s.conn.Conn().Close()
		return errDropped
	}
	return nil
}

func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }
