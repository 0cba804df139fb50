package powerdnstest

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/mattn/go-sqlite3" // the server's database

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// Real is a running pdns_server.
type Real struct {
	URL  string // of the HTTP interface
	Addr string // host:port of the DNS

	zone string
}

// schemas are where packages put the tables that the server wants.
var schemas = []string{
	"/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
	"/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
	"/usr/share/doc/pdns/schema.sqlite3.sql",
}

// StartReal runs a PowerDNS server with one zone, without privileges and on free loopback ports,
// until the test ends. Where it isn't installed with its SQLite backend the test is skipped.
func StartReal(tb dnstest.TB, zone string) *Real {
	tb.Helper()
	program := dnstest.Find("pdns_server")
	var schema []byte
	for _, name := range schemas {
		if text, err := os.ReadFile(name); err == nil {
			schema = text
			break
		}
	}
	if program == "" || schema == nil {
		tb.Skipf("PowerDNS with its SQLite backend is not installed")
	}
	dir := tb.TempDir()
	db := filepath.Join(dir, "zones.db")
	if err := create(db, string(schema)); err != nil {
		tb.Fatalf("%v", err)
	}
	// Its control socket is a path, which systems limit to about 100 octets.
	sockets, err := os.MkdirTemp("", "pdns")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(sockets) }) // a folder of ours alone
	r := &Real{Addr: dnstest.FreeAddr(tb), zone: zone}
	web := dnstest.FreeAddr(tb)
	r.URL = "http://" + web
	host, port, _ := strings.Cut(r.Addr, ":")
	webHost, webPort, _ := strings.Cut(web, ":")
	conf := strings.Join([]string{
		"launch=gsqlite3", "gsqlite3-database=" + db, "gsqlite3-pragma-synchronous=0",
		"local-address=" + host, "local-port=" + port, "daemon=no", "guardian=no", "disable-syslog=yes",
		"webserver=yes", "api=yes", "api-key=" + Key, "webserver-address=" + webHost, "webserver-port=" + webPort, "webserver-allow-from=127.0.0.1",
		"socket-dir=" + sockets, "cache-ttl=0", "query-cache-ttl=0", "negquery-cache-ttl=0", "zone-cache-refresh-interval=0", "receiver-threads=1", "distributor-threads=1",
		"version-string=anonymous",
	}, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "pdns.conf"), []byte(conf), 0o600); err != nil {
		tb.Fatalf("%v", err)
	}
	ready := func() bool { return r.call(http.MethodGet, "", nil, nil) == nil }
	dnstest.Daemon(tb, dir, ready, program, "--config-dir="+dir)
	err = r.call(http.MethodPost, "/zones", map[string]any{"name": zone, "kind": "Master", "nameservers": []string{"localhost."}, "soa_edit_api": "INCREASE"}, nil)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return r
}

func create(name, schema string) error {
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return err
	}
	_, err = db.Exec(schema)
	return errors.Join(err, db.Close())
}

func (r *Real) call(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, r.URL+"/api/v1/servers/localhost"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", Key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: HTTP %d %s", method, path, resp.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// Put changes the zone past the provider, as an administrator with the same interface does.
func (r *Real) Put(sets ...plan.RRset) error {
	var first, rest []map[string]any
	for _, s := range sets {
		records := []record{}
		for _, data := range s.Data {
			records = append(records, record{Content: data})
		}
		if s.Exists() {
			rest = append(rest, map[string]any{"name": s.Name, "type": s.Type, "ttl": s.TTL, "changetype": "REPLACE", "records": records})
		} else {
			first = append(first, map[string]any{"name": s.Name, "type": s.Type, "changetype": "DELETE", "records": records})
		}
	}
	return r.call(http.MethodPatch, "/zones/"+r.zone, map[string]any{"rrsets": append(first, rest...)}, nil)
}

// Set is one set as the server answers it over the DNS.
func (r *Real) Set(name, typ string) (plan.RRset, error) {
	return (&dnstest.BIND{}).Set(r.Addr, name, typ)
}
