package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// front stands before the double of an HTTP interface: it writes down what is asked, and can answer in its place with a
// refusal that quotes all that it was sent, as proxies and debug pages do.
type front struct {
	URL  string
	back *httputil.ReverseProxy

	mu     sync.Mutex
	quotes bool // refuses, and quotes
	path   string
	reads  bool // reading requests get through all the same
	turn   int  // which refusal comes next: of each status once in each round, in another shape than in the round before
	lines  []string
	seen   map[string]bool // credentials of requests that got through
	told   []string        // those that were quoted
}

// startFront stands before backend.
func startFront(t *testing.T, backend string) *front {
	t.Helper()
	to, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{seen: map[string]bool{}}
	f.back = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
	}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.URL = srv.URL + to.Path
	return f
}

// refuse lets the front answer itself from now on; but for reading requests, with writes.
func (f *front) refuse(on, writes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quotes, f.reads = on, writes
}

// next lets the next refusal be of another status and form.
func (f *front) next() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
}

// take returns what was asked since the last call: "GET /path", and the cmdlet of Exchange's requests.
func (f *front) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.lines
	f.lines = nil
	return lines
}

// has reports whether a credential has come with a request that got through.
func (f *front) has(secret string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[secret]
}

// quoted reports whether a credential of that begin was quoted.
func (f *front) quoted(begin string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.told, func(c string) bool { return strings.HasPrefix(c, begin) })
}

var quotingStatus = []int{400, 401, 403, 404, 409, 302, 200, 422}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a request that breaks off is none
	r.Body = io.NopCloser(bytes.NewReader(body))
	credentials := []string{strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.Header.Get("X-API-Key")}
	if form, err := url.ParseQuery(string(body)); err == nil {
		credentials = append(credentials, form.Get("client_secret"), form.Get("client_assertion"), form.Get("assertion"))
	}
	line := r.Method + " " + r.URL.Path
	var cmdlet struct{ CmdletInput struct{ CmdletName string } }
	if json.Unmarshal(body, &cmdlet) == nil && cmdlet.CmdletInput.CmdletName != "" {
		line += " " + cmdlet.CmdletInput.CmdletName
	}
	var batch struct {
		Requests []struct{ Method, URL string }
	}
	if json.Unmarshal(body, &batch) == nil {
		for _, q := range batch.Requests {
			line += " [" + q.Method + " " + q.URL + "]"
		}
	}
	f.mu.Lock()
	f.lines = append(f.lines, line)
	quotes, turn := f.quotes && strings.HasPrefix(r.URL.Path, f.path) && (!f.reads || r.Method != http.MethodGet), f.turn
	if quotes {
		f.told = append(f.told, credentials...)
	} else {
		for _, c := range credentials {
			f.seen[c] = c != ""
		}
	}
	f.mu.Unlock()
	if !quotes {
		f.back.ServeHTTP(w, r)
		return
	}
	words := fmt.Sprintf("refused: %s %s %v %s", r.Method, r.URL, r.Header, body)
	for _, c := range credentials {
		if c != "" {
			words = c + " is wrong; " + quoted("", c) + "; " + words
		}
	}
	text, _ := json.Marshal(words) // a string
	shapes := []string{
		`{"error":{"code":"invalid_key","message":%[1]s},"errors":[{"code":9109,"message":%[1]s}],"message":%[1]s,"id":%[1]s,"success":false}`,
		`{"error":"invalid_client","error_description":%[1]s,"error_codes":[7000215],"trace_id":"f2c1"}`,
		`[{"code":"UNAUTHORIZED","message":%[1]s}]`,
		"%[2]s",
	}
	w.Header().Set("Location", "/elsewhere?token="+url.QueryEscape(words[:min(len(words), 300)]))
	w.WriteHeader(quotingStatus[turn%len(quotingStatus)])
	fmt.Fprintf(w, shapes[(turn+turn/len(quotingStatus))%len(shapes)], text, words)
}

// quoted is a secret in the forms in which servers quote logins.
func quoted(user, secret string) string {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
	bearer := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + secret + "\x01\x01"))
	return fmt.Sprintf("%s, %s, %s, %s, %s, %s", plain, bearer, base64.StdEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), url.PathEscape(secret))
}

// quotingSMTP refuses every login with the password in its words, in one form after another, and breaks off one reply in the middle.
func quotingSMTP(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, "220 post\r\n")
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					line := lines.Text()
					switch verb, rest, _ := strings.Cut(line, " "); verb {
					case "EHLO":
						fmt.Fprint(conn, "250-post\r\n250 AUTH PLAIN\r\n")
					case "AUTH":
						_, response, _ := strings.Cut(rest, " ")
						plain, _ := base64.StdEncoding.DecodeString(response)
						parts := strings.Split(string(plain), "\x00")
						password := parts[len(parts)-1]
						fmt.Fprint(conn, []string{
							"535 5.7.8 " + password + " is wrong\r\n", "535 5.7.8 " + line + " is wrong\r\n", "535 5.7.8 " + quoted("it@acme.example", password) + "\r\n",
							"what is " + password + "?\r\n", "535-5.7.8 no\r\n535 5.7.8 " + strings.ToUpper(hex.EncodeToString([]byte(password))) + "\r\n",
						}[n%5])
					case "QUIT":
						fmt.Fprint(conn, "221 bye\r\n")
						return
					default:
						fmt.Fprint(conn, "530 log in first\r\n")
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// only lets the front refuse what is below path alone, "" = everything.
func (f *front) only(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path = path
}
