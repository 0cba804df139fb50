package main

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	listen    string
	names     []string
	cert, key string
	noDNS     bool
}

func newServe(a *app) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "A page that shows the migration as it goes, for browsers and phones",
		Long: "serve shows status, timeline, mailboxes, name servers and journal on a page that updates\n" +
			"itself. It only reads: no request changes anything. On a loopback address whoever can log in to\n" +
			"this machine can read it; on any other address a token is needed, which serve makes and\n" +
			"prints once as a link. Give -cert and -key there, or put a proxy with TLS in front.",
		Example: "  mxodus serve\n" +
			"  mxodus serve -listen 127.0.0.1:9000 -no-dns\n" +
			"  mxodus serve -listen :8443 -cert tls.crt -key tls.key -host status.acme.example",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8025", "`address:port` to listen on")
	f.StringArrayVar(&o.names, "host", nil, "`name` under which browsers may ask, besides addresses; may be given several times")
	f.StringVar(&o.cert, "cert", "", "serve over TLS with this `file` of certificates (PEM)")
	f.StringVar(&o.key, "key", "", "`file` of the certificate's key (PEM)")
	f.BoolVar(&o.noDNS, "no-dns", false, "don't ask the name servers what they serve")
	return cmd
}

func (a *app) serve(ctx context.Context, o serveOptions) error {
	if (o.cert == "") != (o.key == "") {
		return usage("-cert and -key belong together")
	}
	// What is wrong with the folder is said here and not on the page.
	if _, err := a.load(); err != nil {
		return err
	}
	if !state.Exists(a.dir) {
		if list, err := a.savedPlans(); err != nil || len(list) == 0 {
			return errors.Join(err, fmt.Errorf("there is no plan to show yet: mxodus plan -out %s/0001.plan makes one", plansDir))
		}
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	// The page reads again and again: what it has to say of a file is said once, above.
	reader := &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, clock: a.clock, random: a.random, environ: a.environ,
		dir: a.dir, vars: a.vars, varFiles: a.varFiles, json: true, stop: a.stop}
	p := &page{app: reader, observe: !o.noDNS}
	g := &guard{next: p.handler(), names: o.names, tls: o.cert != ""}
	at := l.Addr().(*net.TCPAddr)
	if !at.IP.IsLoopback() {
		g.token = base64.RawURLEncoding.EncodeToString(a.entropy(24))
		if host, err := os.Hostname(); err == nil {
			g.names = append(g.names, host)
		}
	} else {
		g.names = append(g.names, "localhost")
	}
	if err := a.announce(at, g, o); err != nil {
		return err
	}
	srv := &http.Server{Handler: g, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
	})
	if o.cert != "" {
		err = srv.ServeTLS(l, a.path(o.cert), a.path(o.key))
	} else {
		err = srv.Serve(l)
	}
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return exit(exitInterrupted)
	}
	return err
}

// serveJSON is the object of `serve -json`, once it listens.
type serveJSON struct {
	URL   string `json:"url"`
	Token bool   `json:"token"` // the URL holds one
}

// announce prints the link, with the token where one is needed: here and nowhere else.
func (a *app) announce(at *net.TCPAddr, g *guard, o serveOptions) error {
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = "localhost"
		if len(g.names) > 0 {
			host = g.names[0]
		}
	}
	url := "http://"
	if g.tls {
		url = "https://"
	}
	url += net.JoinHostPort(host, fmt.Sprint(at.Port)) + "/"
	if g.token != "" {
		url += "?token=" + g.token
	}
	if a.json {
		return a.writeJSON(serveJSON{url, g.token != ""})
	}
	if g.token != "" && !g.tls {
		fmt.Fprintln(a.stderr, "The token crosses the network in the clear: give -cert and -key, or put a proxy with TLS in front.")
	}
	_, err := fmt.Fprintf(a.stdout, "%s\nIt only reads. Ctrl-C ends it.\n", url)
	return err
}

// guard lets requests through that may see the page.
//
// A page of somebody else can make a browser ask here: names that resolve to a loopback address
// after the page was loaded (DNS rebinding) are seen by their Host, requests from other
// origins can't read the answer, and none changes anything.
type guard struct {
	next  http.Handler
	token string   // "" on loopback
	names []string // Hosts besides addresses
	tls   bool
}

const tokenCookie = "mxodus"

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch {
	case !g.known(r.Host):
		http.Error(w, "This name is not served here. Give it to mxodus serve as -host.", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "This page only reads.", http.StatusMethodNotAllowed)
	case g.token == "":
		g.next.ServeHTTP(w, r)
	case r.URL.Query().Has("token"):
		// The token leaves the address line, the history and what is sent on.
		if !g.right(r.URL.Query().Get("token")) {
			http.Error(w, "The token is not right: use the link that mxodus serve printed.", http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: tokenCookie, Value: g.token, Path: "/", HttpOnly: true, Secure: g.tls, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case g.admitted(r):
		g.next.ServeHTTP(w, r)
	default:
		http.Error(w, "A token is needed: use the link that mxodus serve printed.", http.StatusUnauthorized)
	}
}

// admitted looks for the token in the cookie, and for scripts in Authorization.
func (g *guard) admitted(r *http.Request) bool {
	if c, err := r.Cookie(tokenCookie); err == nil && g.right(c.Value) {
		return true
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && g.right(bearer)
}

func (g *guard) right(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) == 1
}

// known reports whether a Host is an address or one of the names. No page on the internet
// can have an address of this machine as its name.
func (g *guard) known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.token != "" || ip.IsLoopback()
	}
	return slices.ContainsFunc(g.names, func(n string) bool { return strings.EqualFold(n, host) })
}

// render is how text of the outside gets onto the page: html/template does the rest.
func shown(s string) string { return render.Escape(s) }
