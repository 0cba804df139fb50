package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/state"
)

// served is a migration with a plan and a journal that holds hostile words.
func served(t *testing.T) (*app, func(step, event, data string)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/repository")); err != nil {
		t.Fatal(err)
	}
	a, _, _ := program(dir, "", false)
	a.clock = systemClock{}
	p, _, err := a.readPlan(a.path("plans/0001.plan"))
	if err != nil {
		t.Fatal(err)
	}
	return a, func(step, event, data string) {
		t.Helper()
		db, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Append(context.Background(), state.Entry{At: time.Now(), Plan: p.Digest, Step: step, Event: event, Data: json.RawMessage(data)}); err != nil {
			t.Fatal(err)
		}
	}
}

const hostile = `<script>document.title="pwned"</script><img src=x onerror=document.title='pwned'>`

// ask is one request; head are pairs of header fields.
func ask(h http.Handler, method, target, host string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestServe: the page shows the migration, escapes what comes from outside, and says so when nothing has changed.
func TestServe(t *testing.T) {
	a, journal := served(t)
	text, err := json.Marshal(map[string]any{"Error": hostile + "\x1b[2J", "Empty": "", "Found": []string{"1 MX", "2 MX"}})
	if err != nil {
		t.Fatal(err)
	}
	journal("copy/"+hostile, "failed", string(text))
	h := &guard{next: (&page{app: a}).handler(), names: []string{"localhost"}}
	w := ask(h, "GET", "/", "127.0.0.1:8025")
	body := w.Body.String()
	for _, want := range []string{"<h1>acme</h1>", "Timeline", "anna@acme.example", "&lt;script&gt;document.title=&#34;pwned&#34;", "found 1 MX; 2 MX", `<script src="page.js" defer>`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page holds no %s:\n%s", want, body)
		}
	}
	for _, never := range []string{"<script>document", "<img", "\x1b", "empty"} {
		if strings.Contains(body, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(body, "http://") || strings.Contains(body, "https://") {
		t.Errorf("the page loads something from elsewhere:\n%s", body)
	}

	live := ask(h, "GET", "/live", "localhost:8025")
	if live.Code != 200 || live.Header().Get("ETag") == "" {
		t.Fatalf("%d, tag %q", live.Code, live.Header().Get("ETag"))
	}
	if w := ask(h, "GET", "/live", "localhost", "If-None-Match", live.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("nothing has changed: %d, %d octets", w.Code, w.Body.Len())
	}
	var status struct{ Migration string }
	if w := ask(h, "GET", "/status.json", "localhost"); json.Unmarshal(w.Body.Bytes(), &status) != nil || status.Migration != "acme" {
		t.Errorf("got %s", w.Body)
	}
	for path, typ := range map[string]string{"/page.js": "text/javascript", "/page.css": "text/css"} {
		if w := ask(h, "GET", path, "localhost"); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), typ) {
			t.Errorf("%s: %d, %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	for _, path := range []string{"/live.html.tmpl", "/../serve.go", "/secrets/mail.csv", "/.mxodus/state.db", "/anything"} {
		if w := ask(h, "GET", path, "localhost"); w.Code < 300 {
			t.Errorf("%s is served", path)
		}
	}
}

// TestServeOnlyReads: no method but GET and HEAD gets past the guard, no foreign name
// does, and a folder looks the same after every request.
func TestServeOnlyReads(t *testing.T) {
	a, journal := served(t)
	journal("", "run.begin", "{}")
	f := &folder{t: t, dir: a.dir}
	before := f.files(".mxodus")
	h := &guard{next: (&page{app: a}).handler(), names: []string{"localhost"}}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"} {
		for _, path := range []string{"/", "/live", "/status.json"} {
			if w := ask(h, method, path, "localhost"); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
	for host, code := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:8025": 200, "[::1]:8025": 200, "localhost:1": 200, "LOCALHOST": 200,
		"evil.example": 421, "evil.example:8025": 421, "": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "127.0.0.1.nip.example": 421,
	} {
		if w := ask(h, "GET", "/", host); w.Code != code {
			t.Errorf("Host %q: %d, want %d", host, w.Code, code)
		}
	}
	after := f.files(".mxodus")
	for name, text := range after {
		if before[name] != text {
			t.Errorf("%s was written", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, %d before", len(after), len(before))
	}
}

// TestServeToken: away from loopback nothing is shown without the token, in no form.
func TestServeToken(t *testing.T) {
	a, journal := served(t)
	journal("", "run.begin", "{}")
	h := &guard{next: (&page{app: a}).handler(), names: []string{"status.acme.example"}, token: "s3cret-token", tls: true}
	for _, path := range []string{"/", "/live", "/status.json", "/page.js"} {
		for _, head := range [][]string{nil, {"Cookie", "mxodus=wrong"}, {"Authorization", "Bearer "}, {"Authorization", "s3cret-token"}, {"Cookie", "mxodus="}} {
			if w := ask(h, "GET", path, "192.0.2.1:8025", head...); w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "acme") {
				t.Errorf("%s with %v: %d", path, head, w.Code)
			}
		}
	}
	if w := ask(h, "GET", "/?token=wrong", "192.0.2.1"); w.Code != http.StatusForbidden {
		t.Errorf("a wrong token: %d", w.Code)
	}
	if w := ask(h, "GET", "/?token=s3cret-token", "evil.example"); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: %d", w.Code)
	}
	w := ask(h, "GET", "/?token=s3cret-token", "status.acme.example")
	cookie := w.Header().Get("Set-Cookie")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Secure"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q lacks %s", cookie, want)
		}
	}
	value, _, _ := strings.Cut(cookie, ";")
	for _, head := range [][]string{{"Cookie", value}, {"Authorization", "Bearer s3cret-token"}} {
		if w := ask(h, "GET", "/", "status.acme.example", head...); w.Code != 200 || strings.Contains(w.Body.String(), "s3cret") {
			t.Errorf("with %v: %d", head, w.Code)
		}
	}
}

// TestServeCommand listens, prints a link that works, and ends with its context.
func TestServeCommand(t *testing.T) {
	a, journal := served(t)
	journal("", "run.begin", "{}")
	out, in := io.Pipe()
	a.stdout, a.random = in, strings.NewReader(strings.Repeat("r", 100))
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- a.main(ctx, []string{"serve", "-listen", "0.0.0.0:0", "-host", "status.acme.example", "-no-dns", "-json"})
	}()
	var said serveJSON
	if err := json.NewDecoder(out).Decode(&said); err != nil || !said.Token {
		t.Fatalf("%+v, %v", said, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, port, _ := strings.Cut(strings.TrimPrefix(said.URL, "http://"), ":")
	for rest, want := range map[string]int{"": 303, "x": 403} {
		resp, err := client.Get("http://127.0.0.1:" + port + rest)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", rest, resp.StatusCode, want)
		}
	}
	client.CloseIdleConnections()
	cancel()
	defer in.Close()
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
}

// TestServeInBrowser: a browser shows the page, sees by itself what has come since, and runs nothing of what
// names hold.
func TestServeInBrowser(t *testing.T) {
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Skip("SKIPPED: no chromium here; make servers installs it")
	}
	t.Parallel()
	a, journal := served(t)
	text, err := json.Marshal(map[string]string{"Error": hostile})
	if err != nil {
		t.Fatal(err)
	}
	journal(hostile, "failed", string(text))
	var asked atomic.Int32
	h := &guard{next: (&page{app: a}).handler(), names: []string{"localhost"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/live" && asked.Add(1) == 1 {
			journal("copy/late@acme.example", "pass", string(text))
			time.Sleep(1100 * time.Millisecond) // the journal is read once a second
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(t.TempDir(), "profile"),
		"--virtual-time-budget=9000", "--dump-dom", srv.URL+"/")
	cmd.WaitDelay = 5 * time.Second
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	for _, want := range []string{"<title>acme: ", "copy/late@acme.example", "&lt;img src=x onerror=document.title='pwned'&gt;"} {
		if !strings.Contains(string(dom), want) {
			t.Errorf("the browser shows no %q (asked %d times):\n%s", want, asked.Load(), dom)
		}
	}
	if strings.Contains(string(dom), "<title>pwned") {
		t.Error("a name ran as a script")
	}
}
