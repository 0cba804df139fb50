package httpstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The keys by which APIs say that more is to come: Cloudflare's, Hetzner's, DigitalOcean's and OData's.
const (
	totalPages = "total_pages"
	nextPage   = "next_page"
	nextURL    = "next"
	nextLink   = "@odata.nextLink"
)

// pages are the faults of lists that come in pages. Lists that don't aren't changed.
func pages() []Fault {
	var list []Fault
	add := func(name string, spoil func(x *exchange, paged func(uri string, change func(key string, v any) any) bool)) {
		list = append(list, Fault{Name: name, Lasts: true, Pages: true, spoil: func(x *exchange) {
			spoil(x, func(uri string, change func(key string, v any) any) bool { return x.paged(uri, change) })
		}})
	}
	add("pages without end", func(x *exchange, paged func(string, func(string, any) any) bool) {
		paged(x.onPage(1), func(key string, v any) any {
			switch key {
			case totalPages:
				return 1_000_000_000
			case nextPage:
				return x.page() + 1
			case nextURL, nextLink:
				return fmt.Sprintf("%s%s?page=%d&$skiptoken=0&n=%d", x.p.URL, x.r.URL.Path, x.page()+1, x.nth)
			}
			return v
		})
	})
	add("a page that leads to itself", func(x *exchange, paged func(string, func(string, any) any) bool) {
		paged(x.r.URL.RequestURI(), func(key string, v any) any {
			switch key {
			case totalPages:
				return 1_000_000_000
			case nextPage:
				return x.page()
			case nextURL, nextLink:
				return x.p.URL + x.r.URL.RequestURI()
			}
			return v
		})
	})
	add("pages that lead to another host", func(x *exchange, paged func(string, func(string, any) any) bool) {
		paged(x.r.URL.RequestURI(), func(key string, v any) any {
			if s, ok := v.(string); ok && (key == nextURL || key == nextLink) && s != "" {
				return x.p.other.URL + x.r.URL.RequestURI()
			}
			return v
		})
	})
	// later is a list with one page put in before the others.
	later := func(name string, first func(v any) any) {
		add(name, func(x *exchange, paged func(string, func(string, any) any) bool) {
			n := x.page()
			paged(x.onPage(max(n-1, 1)), func(key string, v any) any {
				number, isNumber := v.(json.Number)
				at, _ := strconv.Atoi(string(number))
				switch {
				case key == totalPages && isNumber:
					return at + 1
				case key == nextPage && isNumber:
					return n + 1
				case key == nextPage && n == 1:
					return 2
				case key == nextURL && n == 1:
					return fmt.Sprintf("%s%s?page=2", x.p.URL, x.r.URL.Path)
				case n == 1:
					return first(v)
				}
				return v
			})
		})
	}
	later("an empty page with more to come", func(v any) any {
		if l, ok := v.([]any); ok && len(l) > 0 && isRecords(l) {
			return []any{}
		}
		return v
	})
	later("a page twice", func(v any) any { return v })
	return list
}

// isRecords tells a list of objects from the values in one.
func isRecords(l []any) bool {
	m, ok := l[0].(map[string]any)
	_, name := m["type"]
	return ok && name
}

// page is the number of the page that is asked for.
func (x *exchange) page() int {
	n, err := strconv.Atoi(x.r.URL.Query().Get("page"))
	if err != nil {
		return 1
	}
	return n
}

// onPage is the request's address with another number of a page.
func (x *exchange) onPage(n int) string {
	u := *x.r.URL
	q := u.Query()
	if q.Has("page") {
		q.Set("page", strconv.Itoa(n))
		u.RawQuery = q.Encode()
	}
	return u.RequestURI()
}

// paged answers as for uri, with the answer changed where it is a list in pages.
func (x *exchange) paged(uri string, change func(key string, v any) any) bool {
	a, ok := x.forward(uri)
	if !ok {
		return false
	}
	text := string(a.body)
	in := x.r.Method == http.MethodGet && a.status == http.StatusOK && (strings.Contains(text, `"`+totalPages+`"`) && x.r.URL.Query().Has("page") ||
		strings.Contains(text, `"`+nextPage+`"`) || strings.Contains(text, `"pages"`) || strings.Contains(text, `"`+nextLink+`"`))
	if in {
		if next := walked(a.body, change); string(next) != text {
			x.done()
			a.body = next
		}
	}
	x.send(a)
	return in
}
