package httpstest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Words are what refusals hold, besides the secret that the client has sent.
const Words = "own words 7731"

// Fault is one thing that can become of a request.
type Fault struct {
	Name string
	// Speaks: the answer holds Words, which an error has to show.
	Speaks bool
	// Lasts: the following requests meet it, too.
	Lasts bool
	// Large: it costs so much that it isn't tried at every request.
	Large bool
	// Pages: it is about lists that come in pages.
	Pages bool
	// Slow: it ends when the client has had enough.
	Slow  bool
	spoil func(x *exchange)
}

// Faults are all kinds.
func Faults() []Fault {
	var list []Fault
	add := func(name string, spoil func(x *exchange)) *Fault {
		list = append(list, Fault{Name: name, spoil: spoil})
		return &list[len(list)-1]
	}
	// Refusals. Nothing is carried out.
	for _, c := range [][2]string{
		{"429", ""}, {"429 for 3 s", "3"}, {"429 for a day", "86400"}, {"429 for -5 s", "-5"}, {"429 for ever", "99999999999999999999"}, {"429 and no number", "soon"},
		{"429 until a date", "Fri, 31 Dec 2100 23:59:59 GMT"}, {"429 until a date long ago", "Thu, 01 Jan 1970 00:00:00 GMT"},
	} {
		add(c[0], func(x *exchange) { x.refuse(http.StatusTooManyRequests, c[1]) }).Speaks = true
	}
	for _, status := range []int{400, 401, 403, 404, 405, 409, 412, 415, 422, 500, 501, 502, 503, 504, 507} {
		add(strconv.Itoa(status), func(x *exchange) { x.refuse(status, "") }).Speaks = true
	}
	for _, status := range []int{401, 403, 429, 500, 503} {
		f := add(strconv.Itoa(status)+" from now on", func(x *exchange) { x.refuse(status, "") })
		f.Speaks, f.Lasts = true, true
	}
	// Carried out all the same.
	for _, status := range []int{500, 502, 503, 504} {
		add(strconv.Itoa(status)+" after the commit", func(x *exchange) { x.forward(x.r.URL.RequestURI()); x.refuse(status, "") }).Speaks = true
	}
	add("the answer lost", func(x *exchange) { x.forward(x.r.URL.RequestURI()); x.hangUp() })
	add("the request lost", func(x *exchange) { x.hangUp() })
	add("cut in its body", func(x *exchange) {
		x.answered(func(a answer) {
			x.raw(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", a.status, len(a.body)+10, a.body[:len(a.body)/2]))
		})
	})
	add("cut in a chunk", func(x *exchange) {
		x.answered(func(a answer) {
			x.raw(fmt.Sprintf("HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", a.status, len(a.body)+1, a.body))
		})
	})
	add("no HTTP", func(x *exchange) { x.forward(x.r.URL.RequestURI()); x.raw("220 mail.example ESMTP\r\n") })
	// Bodies that aren't what was asked for.
	page := []byte("<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>" + Words + "</body></html>")
	add("a page with 200", func(x *exchange) { x.body200(page, "text/html") }).Speaks = true
	add("a page with 200 after the commit", func(x *exchange) { x.forward(x.r.URL.RequestURI()); x.body200(page, "text/html") }).Speaks = true
	add("another content type", func(x *exchange) {
		x.altered(func(b []byte) []byte { x.w.Header().Set("X-Odd", "1"); return append(b, ' ') }, "text/html")
	})
	body := func(name string, change func(b []byte) []byte) {
		add(name, func(x *exchange) { x.altered(change, "application/json") })
	}
	body("JSON that ends early", func(b []byte) []byte { return b[:len(b)/2] })
	body("JSON and trailing garbage", func(b []byte) []byte { return append(b, "\n<!-- cached -->"...) })
	body("JSON twice", func(b []byte) []byte { return append(append(bytes.Clone(b), '\n'), b...) })
	body("JSON behind a BOM", func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) })
	body("null", func(b []byte) []byte { return []byte("null") })
	body("an empty object", func(b []byte) []byte { return []byte("{}") })
	body("an empty list", func(b []byte) []byte { return []byte("[]") })
	body("a text", func(b []byte) []byte { return []byte(`"OK"`) })
	body("nothing at all", func(b []byte) []byte { return []byte{} })
	body("blanks alone", func(b []byte) []byte { return []byte(" \n ") })
	body("null for lists", func(b []byte) []byte {
		return walked(b, func(_ string, v any) any {
			if l, ok := v.([]any); ok && len(l) > 0 {
				return nil
			}
			return v
		})
	})
	body("huge numbers", func(b []byte) []byte {
		return walked(b, func(_ string, v any) any {
			if _, ok := v.(json.Number); ok {
				return json.Number("1e999")
			}
			return v
		})
	})
	body("keys twice, null first", func(b []byte) []byte { return doubled(b, true) })
	body("keys twice, null last", func(b []byte) []byte { return doubled(b, false) })
	body("100,000 brackets", func(b []byte) []byte { return []byte(strings.Repeat("[", 100_000)) })
	add("204 and nothing", func(x *exchange) {
		if a, ok := x.forward(x.r.URL.RequestURI()); ok && len(a.body) > 0 {
			x.done()
		}
		x.w.WriteHeader(http.StatusNoContent)
	})
	// Ways that lead elsewhere.
	for _, status := range []int{301, 302, 303, 307, 308} {
		add(fmt.Sprintf("%d to another host", status), func(x *exchange) { x.redirect(status, x.p.other.URL+x.r.URL.RequestURI()) })
	}
	add("307 without address", func(x *exchange) { x.redirect(307, "") })
	f := add("307 to itself for ever", func(x *exchange) { x.redirect(307, x.p.URL+x.r.URL.RequestURI()) })
	f.Lasts = true
	// Old answers.
	f = add("two old answers", func(x *exchange) { x.stale(2) })
	f.Lasts = true
	f = add("old answers for ever", func(x *exchange) { x.stale(1 << 30) })
	f.Lasts = true
	// Without end.
	f = add("an endless body", func(x *exchange) {
		x.pour("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[", strings.Repeat(" ", 1<<16))
	})
	f.Large = true
	f = add("an endless text", func(x *exchange) {
		x.pour("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\"", strings.Repeat("x", 1<<16))
	})
	f.Large = true
	f = add("endless headers", func(x *exchange) { x.pour("HTTP/1.1 200 OK\r\n", "X-Filler: "+strings.Repeat("x", 1000)+"\r\n") })
	f.Large = true
	f = add("an endless header", func(x *exchange) { x.pour("HTTP/1.1 200 OK\r\nX-Filler: ", strings.Repeat("x", 1<<16)) })
	f.Large = true
	f = add("100 Continue for ever", func(x *exchange) { x.pour("", "HTTP/1.1 100 Continue\r\nX-Filler: xxxx\r\n\r\n") })
	f.Large = true
	f = add("an endless refusal", func(x *exchange) { x.pour("HTTP/1.1 400 No\r\n\r\n", strings.Repeat("no ", 1<<14)) })
	f.Large = true
	f = add("a gzip bomb", func(x *exchange) { x.bomb() })
	f.Large = true
	f = add("a slow drip", func(x *exchange) { x.drip() })
	f.Slow = true
	f = add("a black hole", func(x *exchange) { x.hole() })
	f.Slow = true
	return append(list, pages()...)
}

// refuse answers with a status and with what the client has sent.
func (x *exchange) refuse(status int, after string) {
	x.done()
	if after != "" {
		x.w.Header().Set("Retry-After", after)
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	fmt.Fprintf(x.w, `{"message":"%s, you sent %s"}`, Words, x.secret())
}

// answered has f do something with the double's answer.
func (x *exchange) answered(f func(a answer)) {
	if a, ok := x.forward(x.r.URL.RequestURI()); ok {
		x.done()
		f(a)
	}
}

// altered changes the body of an answer that says yes.
func (x *exchange) altered(change func(b []byte) []byte, kind string) {
	a, ok := x.forward(x.r.URL.RequestURI())
	if !ok {
		return
	}
	if next := change(bytes.Clone(a.body)); a.status/100 == 2 && len(a.body) > 0 && !bytes.Equal(next, a.body) {
		x.done()
		a.body = next
		a.header = a.header.Clone()
		a.header.Set("Content-Type", kind)
	}
	x.send(a)
}

func (x *exchange) body200(body []byte, kind string) {
	x.done()
	x.w.Header().Set("Content-Type", kind)
	_, _ = x.w.Write(body)
}

func (x *exchange) redirect(status int, to string) {
	x.done()
	if to != "" {
		x.w.Header().Set("Location", to)
	}
	x.w.WriteHeader(status)
}

// stale answers readings as the first time, n times.
func (x *exchange) stale(n int) {
	x.p.mu.Lock()
	old, known := x.p.first[x.r.URL.RequestURI()]
	x.p.mu.Unlock()
	if !known || x.write() || x.nth > n {
		if a, ok := x.forward(x.r.URL.RequestURI()); ok {
			x.send(a)
		}
		return
	}
	x.done()
	x.send(old)
}

// raw says exactly that, and hangs up.
func (x *exchange) raw(text string) {
	x.done()
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(text)) // a client that is gone needs no answer
}

func (x *exchange) hangUp() { x.raw("") }

// pour says the same for ever, a quarter of a gigabyte at most.
func (x *exchange) pour(head, text string) {
	x.done()
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	w := bufio.NewWriterSize(conn, 1<<18)
	_, err = w.WriteString(head)
	var n int64
	for err == nil && n < 256<<20 {
		_, err = w.WriteString(text)
		n += int64(len(text))
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.p.poured = max(x.p.poured, n)
}

var bombs = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range 128 {
		_, _ = w.Write(chunk) // into memory
	}
	_ = w.Close()
	return b.Bytes()
})

// bomb answers with a body that is a thousand times as large as it comes.
func (x *exchange) bomb() {
	x.done()
	x.w.Header().Set("Content-Encoding", "gzip")
	x.w.Header().Set("Content-Type", "application/json")
	_, _ = x.w.Write(bombs())
}

// drip says an octet now and then.
func (x *exchange) drip() {
	x.done()
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(x.w)
	for {
		if _, err := x.w.Write([]byte(" ")); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-x.r.Context().Done():
			return
		case <-x.p.stop:
			return
		}
	}
}

// hole says nothing.
func (x *exchange) hole() {
	x.done()
	select {
	case <-x.r.Context().Done():
	case <-x.p.stop:
	}
}

// walked changes every value of a JSON text. What is no JSON stays.
func walked(b []byte, change func(key string, v any) any) []byte {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return b
	}
	var walk func(key string, v any) any
	walk = func(key string, v any) any {
		switch c := v.(type) {
		case map[string]any:
			for k, e := range c {
				c[k] = walk(k, e)
			}
		case []any:
			for i, e := range c {
				c[i] = walk(key, e)
			}
		}
		return change(key, v)
	}
	out, err := json.Marshal(walk("", v))
	if err != nil {
		return b
	}
	return out
}

// doubled has each key of the outermost object twice, once with null.
func doubled(b []byte, before bool) []byte {
	var m map[string]json.RawMessage
	if json.Unmarshal(b, &m) != nil || len(m) == 0 {
		return b
	}
	var with, without []string
	for k, v := range m {
		key, _ := json.Marshal(k) // of a string
		with = append(with, string(key)+":"+string(v))
		without = append(without, string(key)+":null")
	}
	if before {
		with = append(without, with...)
	} else {
		with = append(with, without...)
	}
	return []byte("{" + strings.Join(with, ",") + "}")
}
