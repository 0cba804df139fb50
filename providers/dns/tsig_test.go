package dns_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/faults"
)

// forgery is what becomes of signed answers on their way.
type forgery struct {
	name   string
	change func(f forger, request, answer []byte) []byte
	reason providers.Reason // of a look-up
	server string           // words of the server's that the error has to hold
}

// forger knows the key, which those on the way don't: what even they can't do is tried with it, too.
type forger struct{ key dnstest.Key }

// resign signs the answer anew after edit has changed it and its TSIG record.
func (f forger) resign(secret string, request, answer []byte, edit func(m *mdns.Msg, t *mdns.TSIG)) []byte {
	q, r := unpacked(request), unpacked(answer)
	t := &mdns.TSIG{Hdr: mdns.RR_Header{Name: f.key.Name, Rrtype: mdns.TypeTSIG, Class: mdns.ClassANY}, Algorithm: mdns.HmacSHA256, TimeSigned: uint64(time.Now().Unix()), Fudge: 300, OrigId: q.Id}
	unsign(r)
	edit(r, t)
	r.Extra = append(r.Extra, t)
	mac := ""
	if asked := q.IsTsig(); asked != nil {
		mac = asked.MAC
	}
	out, _, err := mdns.TsigGenerate(r, secret, mac, false)
	if err != nil {
		panic(err)
	}
	return out
}

func unpacked(raw []byte) *mdns.Msg {
	m := new(mdns.Msg)
	if err := m.Unpack(raw); err != nil {
		panic(err)
	}
	return m
}

func packed(m *mdns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

func unsign(m *mdns.Msg) {
	m.Extra = slices.DeleteFunc(m.Extra, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeTSIG })
}

// withMAC replaces the MAC of an answer.
func withMAC(answer []byte, change func(mac string) string) []byte {
	r := unpacked(answer)
	t := r.IsTsig()
	if t == nil {
		return answer
	}
	t.MAC = change(t.MAC)
	t.MACSize = uint16(len(t.MAC) / 2)
	return packed(r)
}

// refusal is an unsigned answer to request with that response code, and one in the TSIG record where tsig isn't 0.
func (f forger) refusal(request []byte, rcode int, tsig uint16, other string) []byte {
	q := unpacked(request)
	r := new(mdns.Msg)
	r.SetRcode(q, rcode)
	r.Authoritative = true
	if tsig != 0 {
		t := &mdns.TSIG{Hdr: mdns.RR_Header{Name: f.key.Name, Rrtype: mdns.TypeTSIG, Class: mdns.ClassANY}, Algorithm: mdns.HmacSHA256, Fudge: 300, OrigId: q.Id, Error: tsig, TimeSigned: uint64(time.Now().Unix()), OtherData: other, OtherLen: uint16(len(other) / 2)}
		r.Extra = append(r.Extra, t)
	}
	return packed(r)
}

const otherSecret = "Zm9yZ2VkIGJ5IHNvbWVib2R5LCAzMiBvY3RldHMhISE="

func forgeries() []forgery {
	keep := func(*mdns.Msg, *mdns.TSIG) {}
	server48 := hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(2*time.Hour).Unix()))[2:])
	return []forgery{
		{"the MAC altered", func(_ forger, _, a []byte) []byte {
			return withMAC(a, func(mac string) string {
				last := "0"
				if mac[len(mac)-1] == '0' {
					last = "1"
				}
				return mac[:len(mac)-1] + last
			})
		}, providers.Protocol, ""},
		{"the MAC truncated", func(_ forger, _, a []byte) []byte { return withMAC(a, func(mac string) string { return mac[:32] }) }, providers.Protocol, ""},
		{"the MAC one octet long", func(_ forger, _, a []byte) []byte { return withMAC(a, func(mac string) string { return mac[:2] }) }, providers.Protocol, ""},
		{"the MAC missing", func(_ forger, _, a []byte) []byte { return withMAC(a, func(string) string { return "" }) }, providers.Protocol, ""},
		{"the signature missing", func(_ forger, _, a []byte) []byte { r := unpacked(a); unsign(r); return packed(r) }, providers.Protocol, ""},
		{"the answer altered", func(_ forger, _, a []byte) []byte { a = slices.Clone(a); a[2] ^= 0x04; return a }, providers.Protocol, ""},
		{"signed by another secret", func(f forger, q, a []byte) []byte { return f.resign(otherSecret, q, a, keep) }, providers.Protocol, ""},
		{"signed by another key", func(f forger, q, a []byte) []byte {
			return f.resign(otherSecret, q, a, func(_ *mdns.Msg, t *mdns.TSIG) { t.Hdr.Name = "other." })
		}, providers.Protocol, ""},
		{"signed under another key's name", func(f forger, q, a []byte) []byte {
			return f.resign(f.key.Secret, q, a, func(_ *mdns.Msg, t *mdns.TSIG) { t.Hdr.Name = "other." })
		}, providers.Protocol, ""},
		{"signed by another algorithm", func(f forger, q, a []byte) []byte {
			return f.resign(f.key.Secret, q, a, func(_ *mdns.Msg, t *mdns.TSIG) { t.Algorithm = mdns.HmacSHA1 })
		}, providers.Protocol, ""},
		{"signed an hour ago", func(f forger, q, a []byte) []byte {
			return f.resign(f.key.Secret, q, a, func(_ *mdns.Msg, t *mdns.TSIG) { t.TimeSigned -= 3600 })
		}, providers.Protocol, ""},
		{"signed in an hour", func(f forger, q, a []byte) []byte {
			return f.resign(f.key.Secret, q, a, func(_ *mdns.Msg, t *mdns.TSIG) { t.TimeSigned += 3600 })
		}, providers.Protocol, ""},
		{"signed for no request", func(f forger, q, a []byte) []byte {
			bare := unpacked(q)
			unsign(bare)
			return f.resign(f.key.Secret, packed(bare), a, keep)
		}, providers.Protocol, ""},
		{"the TSIG isn't the last record", func(_ forger, _, a []byte) []byte {
			r := unpacked(a)
			r.Extra = append(r.Extra, &mdns.TXT{Hdr: mdns.RR_Header{Name: "x.", Rrtype: mdns.TypeTXT, Class: mdns.ClassINET}, Txt: []string{"x"}})
			return packed(r)
		}, providers.Protocol, ""},
		{"two TSIGs", func(_ forger, _, a []byte) []byte {
			r := unpacked(a)
			r.Extra = append(r.Extra, r.IsTsig())
			return packed(r)
		}, providers.Protocol, ""},
		{"a record added behind the signature's octets", func(_ forger, _, a []byte) []byte {
			r := unpacked(a)
			t := r.IsTsig()
			r.Extra = []mdns.RR{&mdns.TXT{Hdr: mdns.RR_Header{Name: "x.", Rrtype: mdns.TypeTXT, Class: mdns.ClassINET}, Txt: []string{"x"}}, t}
			return packed(r)
		}, providers.Protocol, ""},
		{"an unsigned NXDOMAIN", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeNameError, 0, "") }, providers.Protocol, ""},
		{"an unsigned YXRRSET", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeYXRrset, 0, "") }, providers.Protocol, ""},
		{"an unsigned REFUSED", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeRefused, 0, "") }, providers.Refused, "REFUSED"},
		{"an unsigned SERVFAIL", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeServerFailure, 0, "") }, providers.Unreachable, "SERVFAIL"},
		{"BADSIG", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeNotAuth, mdns.RcodeBadSig, "") }, providers.Authentication, "NOTAUTH (BADSIG)"},
		{"BADKEY", func(f forger, q, _ []byte) []byte { return f.refusal(q, mdns.RcodeNotAuth, mdns.RcodeBadKey, "") }, providers.Authentication, "NOTAUTH (BADKEY)"},
		{"BADTIME", func(f forger, q, _ []byte) []byte {
			return f.refusal(q, mdns.RcodeNotAuth, mdns.RcodeBadTime, server48)
		}, providers.Authentication, "NOTAUTH (BADTIME)"},
		{"BADTRUNC", func(f forger, q, _ []byte) []byte {
			return f.refusal(q, mdns.RcodeNotAuth, mdns.RcodeBadTrunc, "")
		}, providers.Authentication, "NOTAUTH (BADTRUNC)"},
	}
}

// replay answers each question with the answer that the first one of its kind got, under the new id.
func replay() func(f forger, request, answer []byte) []byte {
	var mu sync.Mutex
	first := map[string][]byte{}
	return func(_ forger, request, answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		q := unpacked(request)
		kind := fmt.Sprint(q.Opcode, q.Question)
		old, ok := first[kind]
		if !ok {
			first[kind] = slices.Clone(answer)
			return answer
		}
		old = slices.Clone(old)
		copy(old, request[:2])
		return old
	}
}

// TestForgedSignatures: whatever becomes of the signature of an answer, nothing is taken from the answer, the error has a
// remedy and no secret, and an update is there once when the way is clear again.
func TestForgedSignatures(t *testing.T) {
	for name, start := range signedServers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := proxy(t, s.addr)
			zone := newRFC2136(t, p.Addr(), s.key).(*dns.RFC2136)
			f := forger{s.key}
			was := update[0].Old
			survived := 0
			check := func(t *testing.T, op string, err error, reasons ...providers.Reason) {
				t.Helper()
				e, ok := errors.AsType[*providers.Error](err)
				if !ok || !slices.Contains(reasons, e.Reason) || e.Remedy == "" {
					t.Errorf("%s: %v, want %s with a remedy", op, err, reasons)
					return
				}
				if text := fmt.Sprintf("%v %+v", err, *e); strings.Contains(text, s.key.Secret) {
					t.Errorf("%s: the error shows the secret", op)
				}
			}
			for _, c := range append(forgeries(), forgery{"replayed", replay(), providers.Protocol, ""}) {
				if !t.Run(c.name, func(t *testing.T) {
					if c.name == "replayed" { // the first of each kind goes through
						p.Alter(func(q, a []byte) []byte { return c.change(f, q, a) })
						if _, err := zone.Lookup(t.Context(), was.Name, "A"); err != nil {
							t.Fatal(err)
						}
					}
					p.Alter(func(q, a []byte) []byte { return c.change(f, q, a) })
					set, err := zone.Lookup(t.Context(), was.Name, "A")
					check(t, "Lookup", err, c.reason)
					if set.Exists() || !strings.Contains(fmt.Sprint(err), c.server) {
						t.Errorf("Lookup: %v, %v; want nothing but %q", set, err, c.server)
					}
					if c.reason != providers.Refused && c.name != "replayed" {
						// A refused transfer makes the zone incomplete, which is no error.
						sets, complete, err := zone.Records(t.Context())
						check(t, "Records", err, c.reason)
						if len(sets) > 0 || complete {
							t.Errorf("Records: %v, complete %v", sets, complete)
						}
					}
					// The update itself is answered so; what is read before isn't.
					next := was
					next.Data = []string{map[string]string{"192.0.2.1": "192.0.2.2", "192.0.2.2": "192.0.2.1"}[was.Data[0]]}
					p.Alter(func(q, a []byte) []byte {
						if int(q[2]>>3)&0xF != mdns.OpcodeUpdate {
							return a
						}
						if c.name == "replayed" {
							return nil // no update was answered before
						}
						return c.change(f, q, a)
					})
					change := []plan.RRsetChange{{Old: was, New: next}}
					err = zone.Update(t.Context(), change)
					want := c.reason
					if want == providers.Protocol || want == providers.Unreachable {
						want = providers.Uncertain // the update may have been made
					}
					check(t, "Update", err, want)
					p.Alter(nil)
					if got := s.set(t); !got.Equal(next) {
						t.Errorf("the zone holds %v: the update was carried out, and its answer alone forged", got)
					}
					if err := zone.Update(t.Context(), change); err != nil {
						t.Errorf("once more, by a clear way: %v", err)
					}
					if got, err := zone.Lookup(t.Context(), was.Name, "A"); err != nil || !got.Equal(next) {
						t.Errorf("Lookup: %v, %v", got, err)
					}
					was = next
				}) {
					return
				}
				survived++
			}
			faults.Count(t, "TSIG cases", survived)
			t.Logf("%d forged signatures", survived)
		})
	}
}

// TestSignaturesWithoutKey: a server that signs, or complains of a signature, where no key is configured crashes nobody.
func TestSignaturesWithoutKey(t *testing.T) {
	z := newZone(t, zoneName, wwwFile, realClock{})
	p := proxy(t, listen(t, "127.0.0.1:0", &testKey, z).Addr())
	f := forger{testKey}
	zone := &dns.RFC2136{Server: p.Addr(), Zone: zoneName, Clock: realClock{}}
	survived := 0
	for _, c := range forgeries() {
		if !strings.Contains(c.server, "(") {
			continue
		}
		p.Alter(func(q, a []byte) []byte { return c.change(f, q, a) })
		for op, err := range map[string]error{
			"Lookup": second(zone.Lookup(t.Context(), "www."+zoneName, "A")), "Update": zone.Update(t.Context(), update),
		} {
			if providers.ReasonOf(err) != providers.Refused {
				t.Errorf("%s: %s: %v, want NOTAUTH as a refusal", c.name, op, err)
			}
		}
		survived++
	}
	if got := z.Set("www."+zoneName, "A"); !got.Equal(update[0].Old) {
		t.Errorf("the zone was changed: %v", got)
	}
	faults.Count(t, "TSIG cases", survived)
}

func second[T any](_ T, err error) error { return err }

// TestEndlessTransfer: a zone that never ends costs bounded memory.
func TestEndlessTransfer(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for i := range 400 {
		fmt.Fprintf(&file, "h%04d 300 IN TXT %q\n", i, strings.Repeat("x", 250))
	}
	z := newZone(t, zoneName, file.String(), realClock{})
	s := listen(t, "127.0.0.1:0", &testKey, z)
	s.EndlessTransfers(true)
	zone := &dns.RFC2136{Server: s.Addr(), Zone: zoneName, KeyName: testKey.Name, Credentials: tsigRef, Secrets: vault(testKey.Secret), Clock: realClock{}}
	sets, complete, err := zone.Records(t.Context())
	if providers.ReasonOf(err) != providers.Protocol || !strings.Contains(err.Error(), "doesn't end") || complete || len(sets) > 0 {
		t.Errorf("%d sets, complete %v, %v", len(sets), complete, err)
	}
	faults.Count(t, "DNS faults", 1)
}
