package faults

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"strings"

	"testing"
)

// Mutants is how many inputs Fuzz makes of each seed where no fuzzing was asked for.
const Mutants = 100

// Fuzz is f.Fuzz with a short round in every test run: fn also sees Mutants inputs made of each seed (those of f.Add and of
// testdata/fuzz) by what breaks parsers. They depend on the seeds alone, so a failure is there again in the next run; it names its
// input in the form of a file of the corpus. With -fuzz it is f.Fuzz and nothing else.
//
// fn is as f.Fuzz wants it; its arguments are strings, octets, booleans and integers. It must not call t.Parallel. The inputs
// are counted as "fuzz executions".
//
// The compiler's instrumentation that guides -fuzz costs an anew compiled set of all packages, minutes on a fresh
// machine; a round without it costs next to nothing and finds what is shallow. The corpora hold what -fuzz has found deeper.
func Fuzz(f *testing.F, fn any) {
	f.Helper()
	if asked := flag.Lookup("test.fuzz"); asked != nil && asked.Value.String() != "" {
		f.Fuzz(fn)
		return
	}
	r := round{name: f.Name(), fn: reflect.ValueOf(fn)}
	f.Fuzz(reflect.MakeFunc(r.fn.Type(), func(args []reflect.Value) []reflect.Value {
		r.around(args[0].Interface().(*testing.T), args[1:])
		return nil
	}).Interface())
	Count(f, "fuzz executions", r.executed)
}

// round is the short round of one target.
type round struct {
	name string
	fn   reflect.Value

	executed int
	seen     [][]reflect.Value // seeds so far: mutants are also spliced of two
}

// around runs a seed and the mutants of it.
func (r *round) around(t *testing.T, seed []reflect.Value) {
	r.run(t, seed)
	h := fnv.New64a()
	fmt.Fprint(h, literal(seed))
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	r.seen = append(r.seen, seed)
	for range Mutants {
		mutant := make([]reflect.Value, len(seed))
		copy(mutant, seed)
		other := r.seen[rng.IntN(len(r.seen))]
		for range 1 + rng.IntN(3) {
			i := rng.IntN(len(seed))
			mutant[i] = mutated(rng, mutant[i], other[i])
		}
		r.run(t, mutant)
	}
}

func (r *round) run(t *testing.T, args []reflect.Value) {
	returned := false
	defer func() {
		if !returned || t.Failed() {
			t.Logf("failed at this input, a file for testdata/fuzz/%s:\n%s", r.name, literal(args))
		}
	}()
	r.fn.Call(append([]reflect.Value{reflect.ValueOf(t)}, args...))
	returned = true
	r.executed++
	if t.Failed() {
		t.FailNow() // one input a seed is enough
	}
}

// literal is an input as testdata/fuzz holds it.
func literal(args []reflect.Value) string {
	var b strings.Builder
	b.WriteString("go test fuzz v1\n")
	for _, a := range args {
		if octets, ok := a.Interface().([]byte); ok {
			fmt.Fprintf(&b, "[]byte(%q)\n", octets)
		} else {
			fmt.Fprintf(&b, "%s(%#v)\n", a.Type(), a.Interface())
		}
	}
	return b.String()
}

// mutated is v changed at some place, of the same type; other is a value of the same argument.
func mutated(rng *rand.Rand, v, other reflect.Value) reflect.Value {
	changed := reflect.New(v.Type()).Elem()
	switch {
	case v.Kind() == reflect.String:
		changed.SetString(string(mutatedOctets(rng, []byte(v.String()), []byte(other.String()))))
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		changed.SetBytes(mutatedOctets(rng, v.Bytes(), other.Bytes()))
	case v.Kind() == reflect.Bool:
		changed.SetBool(rng.IntN(2) == 0)
	case v.CanInt():
		changed.SetInt(mutatedNumber(rng, v.Int())) // what doesn't fit is cut off
	case v.CanUint():
		changed.SetUint(uint64(mutatedNumber(rng, int64(v.Uint()))))
	default:
		panic(fmt.Sprintf("faults: Fuzz makes no mutants of a %s", v.Type()))
	}
	return changed
}

// longest is about how many octets a repeated piece may come to.
const longest = 2000

func mutatedNumber(rng *rand.Rand, n int64) int64 {
	switch rng.IntN(4) {
	case 0:
		return n + int64(rng.IntN(65)) - 32
	case 1:
		return -n
	case 2:
		return n ^ 1<<rng.IntN(64)
	}
	return []int64{0, 1, -1, 127, 128, 255, 256, 32767, 65535, 65536, 1<<31 - 1, -1 << 31, 1 << 31, 1<<32 - 1, 1<<63 - 1, -1 << 63}[rng.IntN(16)]
}

// tokens are what breaks parsers of protocols, names, dates, records and text files.
var tokens = []string{
	"\r\n", "\n", "\r", "\x00", "\"", "\\", "\\\"", "'", "`", "$", "${", "%{", "{", "}", "(", ")", "[", "]", "<", ">", "|", ";", ",", ":", "=", "*", "%", "&", "&-", "-", "+", "/", "..", "../", "@", "#", "//",
	"{0}", "{3}\r\n", "{9+}\r\n", "~{1}\r\n", "{99999999999999999999}\r\n", "\r\nA2 DELETE INBOX\r\n", "* ", "+ ", "NIL", "\x1b[31m", "\x1b]0;x\x07", "\x9b", "\x7f", "\t", " ", "  ",
	"\u202e", "\u200b", "\ufeff", "\u0301", "\u2215", "\u2024", "\u2028", "\u00a0", "\U0001f4ec", "\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	"0", "-1", "1", "4294967295", "4294967296", "18446744073709551616", "1e999", "&AP-", "&2D0-", "=?utf-8?q?=C3?=", "=?x?b?!?=", "29-Feb-2023", "9999", "1601", "0000",
	"=cmd|' /C calc'!A0", "INBOX", "inbox", "v=spf1", "redirect=", "include:", "null", "true", "--", "--x", "/*", "*/", "<<E\n", "for", "if", ".", "a.example.", "[UNAVAILABLE]",
}

// mutatedOctets never changes b itself.
func mutatedOctets(rng *rand.Rand, b, other []byte) []byte {
	at := func() int { return rng.IntN(len(b) + 1) }
	span := func(of []byte) (from, to int) {
		from = rng.IntN(len(of) + 1)
		return from, from + rng.IntN(min(len(of)-from, 64)+1)
	}
	insert := func(i int, more []byte) []byte { return bytes.Join([][]byte{b[:i], more, b[i:]}, nil) }
	switch rng.IntN(10) {
	case 0: // a bit
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
	case 1: // an octet
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[rng.IntN(len(b))] = byte(rng.IntN(256))
		}
	case 2: // less
		from, to := span(b)
		b = append(bytes.Clone(b[:from]), b[to:]...)
	case 3: // the end is missing
		b = bytes.Clone(b[:at()])
	case 4: // a piece twice
		from, to := span(b)
		b = insert(at(), b[from:to])
	case 5: // a piece many times
		from, to := span(b)
		b = insert(to, bytes.Repeat(b[from:to], 1+rng.IntN(min(200, 1+longest/max(to-from, 1)))))
	case 6: // a piece of another seed
		from, to := span(other)
		b = insert(at(), other[from:to])
	case 7: // a token in the place of a piece
		from, to := span(b)
		b = bytes.Join([][]byte{b[:from], []byte(tokens[rng.IntN(len(tokens))]), b[to:]}, nil)
	default:
		b = insert(at(), []byte(tokens[rng.IntN(len(tokens))]))
	}
	return b
}
