package smtp

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/mxodus/mxodus/providers"
)

var _ providers.ExchangerProbe = (*Probe)(nil)

// Greet implements providers.ExchangerProbe. The certificate is taken whatever
// it is, because it is the finding: who asks judges it.
func (p *Probe) Greet(ctx context.Context, server, name string) (providers.Exchanger, error) {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = probeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	s, err := dial(ctx, p.Dial, server, nil)
	if err != nil {
		return providers.Exchanger{}, err
	}
	defer s.close()
	x := providers.Exchanger{Greeting: s.greeting}
	if _, x.STARTTLS = s.ext["STARTTLS"]; !x.STARTTLS {
		s.quit(ctx)
		return x, nil
	}
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true} //nolint:gosec // see above
	if x.TLS = s.startTLS(ctx, config); x.TLS != nil {
		return x, nil
	}
	if conn, ok := s.conn.(*tls.Conn); ok {
		x.Chain = conn.ConnectionState().PeerCertificates
	}
	s.quit(ctx)
	return x, nil
}
