package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/faults"
)

// sealed puts the right digest into line 2 of a plan's text.
func sealed(text string) []byte {
	lines := strings.SplitN(text, "\n", 3)
	sum := sha256.Sum256([]byte(lines[0] + "\n" + lines[2]))
	return []byte(lines[0] + "\n# sha256:" + hex.EncodeToString(sum[:]) + "\n" + lines[2])
}

const small = `# mxodus plan, format 1
# sha256:
plan "lab" {
  number    = 3
  lineage   = "01jgw8z4n6t5q3r2"
  parent    = "sha256:41aa07c9"
  config    = "sha256:c0ffee5e"
  inventory = "sha256:77b1d203"
  cutover   = "2027-01-15T18:00:00+01:00"
  timezone  = "Europe/Berlin"
}

phase "lower_ttl" {
  start = "cutover-7d"
}

phase "delta" {
  start  = "flip.end"
  until  = "converged(3)"
  hours  = "19:00-07:00"
  repeat = "15m"
  gate   = "g"
}

gate "g" {
  require = ["no_stragglers_for[\"7d\"]"]
  by = [
    "a@lab.example",
    "b@lab.example",
  ]
  count   = 2
  expires = "1d"
}

finding "null_mx" {
  severity = "blocks"
  gate     = "g"
  subject  = "lab.example MX"
  summary  = "no"
  detail = [
    "one",
    "two \"quoted\" $${x}",
  ]
  remedy = "mend it"
}

step "dns/lab.example/MX/@/ttl" {
  phase  = "lower_ttl"
  action = "change"
  from   = ["3600 MX 10 mx00.old.example."]
  to     = ["300 MX 10 mx00.old.example."]
  after  = ["a"]
  gate   = "g"
  start  = "2027-01-08T18:00:00+01:00-1h30m"
  settle = "3600s"
  repeat = "250ms"
  until  = "validate.end+30d"
  expect = "sha256:aa"
  undo   = "restore"
  detail = ["x"]
}
`

func TestFormat(t *testing.T) {
	data := sealed(small)
	p, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(p)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("not the same bytes: %v\n%s", err, cmp.Diff(string(data), string(again)))
	}
	if want := strings.TrimPrefix(strings.Split(string(data), "\n")[1], "# "); p.Digest != want {
		t.Errorf("the digest is %q, want %q", p.Digest, want)
	}
	s := p.Steps[0]
	if s.Settle != time.Hour || s.Repeat != 250*time.Millisecond || s.Start.Offset != -90*time.Minute || s.Until.Moment.Anchor != plan.AnchorEnd(plan.Validate) || s.Undo != plan.Restore {
		t.Errorf("read %+v", s)
	}
	if p.Number != 3 || p.Gates[0].Require[0] != (plan.CheckRef{Name: "no_stragglers_for", Arg: "7d"}) || p.Findings[0].Detail[1] != `two "quoted" ${x}` {
		t.Errorf("read %+v", p)
	}
	if !p.Cutover.Equal(time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("the cutover is %s", p.Cutover)
	}
}

// A plan that was changed by one bit anywhere is refused.
func TestEveryByteCounts(t *testing.T) {
	data := sealed(small)
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := Decode(bad); !errors.Is(err, ErrDigest) && !errors.Is(err, ErrFormat) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
	}
	faults.Count(t, "flipped octets", 8*len(data))
	for i := range data {
		if _, err := Decode(data[:i]); err == nil {
			t.Fatalf("cut after %d bytes it is taken", i)
		}
	}
	for _, tail := range []string{"\n", " ", "#", "step \"x\" {}\n"} {
		if _, err := Decode(append(bytes.Clone(data), tail...)); !errors.Is(err, ErrDigest) {
			t.Errorf("with %q behind it: %v", tail, err)
		}
	}
}

func TestLineEndsOfAnotherSystemAreNamed(t *testing.T) {
	_, err := Decode(bytes.ReplaceAll(sealed(small), []byte("\n"), []byte("\r\n")))
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "CR LF") {
		t.Errorf("a plan with CR LF: %v", err)
	}
}

// With a digest that fits, only the one spelling of a plan is taken.
func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		is             error
		want           string
	}{
		{"comment", "  count ", "  # c\n  count ", ErrFormat, "line 31 is not written as mxodus writes it"},
		{"blanks", "number    =", "number =", ErrFormat, "line 4 is not written"},
		{"empty line", "\nphase \"delta\"", "\n\nphase \"delta\"", ErrFormat, "is not written"},
		{"other unit", `"250ms"`, `"0250ms"`, ErrFormat, "is not written"},
		{"other zone", "18:00:00+01:00\"\n  timezone", "17:00:00Z\"\n  timezone", ErrFormat, "line 9 is not written"},
		{"newer", "format 1", "format 2", ErrFormat, "install the version that wrote it"},
		{"older", "format 1", "format 0", ErrFormat, "plan again"},
		{"another file", "# mxodus plan", "# mxodus inventory", ErrFormat, "was another file named?"},
		{"unknown attribute", "  undo   =", "  redo   =", nil, "line 59: redo is unknown here"},
		{"unknown action", `"change"`, `"destroy"`, nil, `line 49: action: there is no action "destroy"`},
		{"unknown phase", `phase "delta"`, `phase "deltoid"`, nil, `line 17: there is no phase "deltoid"`},
		{"unknown undo", `"restore"`, `"maybe"`, nil, "there is no undo"},
		{"severity", `"blocks"`, `"hints"`, nil, "there is no severity"},
		{"moment", "cutover-7d", "noon-7d", nil, `line 14: start: "noon-7d" is no moment`},
		{"check", `no_stragglers_for[\"7d\"]`, `no_stragglers_for[7d]`, nil, "is no check"},
		{"expression", `"15m"`, `var.x`, nil, "line 21: found"},
		{"two steps", "\nstep \"dns", "\nstep \"a\" {\n  phase  = \"flip\"\n  action = \"send\"\n}\n\nstep \"a\" {\n  phase  = \"flip\"\n  action = \"send\"\n}\n\nstep \"dns", nil, `two steps with the address "a"`},
		{"two heads", "\nphase \"lower_ttl\"", "\nplan \"x\" {\n}\n\nphase \"lower_ttl\"", nil, "2 plan blocks"},
		{"unknown zone", "Europe/Berlin", "Europe/Bielefeld", nil, "time zone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(small, c.old, c.new, 1)
			if text == small {
				t.Fatal("the case changes nothing")
			}
			_, err := Decode(sealed(text))
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if errors.Is(err, ErrDigest) {
				t.Error("it is refused for its digest, which is right")
			}
		})
	}
}

func TestDigestErrorNamesBoth(t *testing.T) {
	data := sealed(small)
	line := strings.TrimPrefix(strings.Split(string(data), "\n")[1], "# ")
	bad := bytes.Replace(data, []byte("count   = 2"), []byte("count   = 0"), 1)
	_, err := Decode(bad)
	e, ok := errors.AsType[*DigestError](err)
	if !ok || e.Line != line || e.File == line || !strings.Contains(err.Error(), e.File) || !strings.Contains(err.Error(), line) {
		t.Errorf("got %v", err)
	}
	_, err = Decode(regexp.MustCompile(`(?m)^# sha256:.*$`).ReplaceAll(data, []byte("# \x1b[31m")))
	if err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "says no digest") {
		t.Errorf("got %q", err)
	}
}

// The golden plans of package planner read back and come out the same.
func TestPlannersPlans(t *testing.T) {
	files, err := filepath.Glob("../planner/testdata/*.plan")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if again, err := Encode(p); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s comes out otherwise: %v", f, err)
		}
	}
}

// Everything in a plan survives, whatever the texts are.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringN(1, 20, -1)
	texts := rapid.SliceOfN(rapid.String(), 0, 3)
	duration := rapid.Map(rapid.Int64Range(0, 1e8), func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond })
	valid := func(list []string) []string {
		if len(list) == 0 {
			return nil
		}
		for i := range list {
			list[i] = strings.ToValidUTF8(list[i], "?")
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) plan.Moment {
			m, err := plan.ParseMoment(rapid.SampledFrom([]string{"", "cutover-7d", "flip.end+1h30m", "2027-03-28T02:30:00+01:00-5s", "validate.start"}).Draw(t, name))
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		p := &plan.Plan{
			Header: plan.Header{
				Name: text.Draw(t, "name"), Number: rapid.IntRange(0, 9999).Draw(t, "number"), Lineage: rapid.String().Draw(t, "lineage"),
				Cutover: time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "cutover")).UTC(), Timezone: rapid.SampledFrom([]string{"", "UTC"}).Draw(t, "zone"),
				Rollback: rapid.SampledFrom([]plan.Phase{"", plan.Flip}).Draw(t, "rollback"),
			},
			Schedule: []plan.Window{{Phase: plan.Hold, Start: moment("w.start"), Until: plan.Until{Moment: moment("w.until")}, Hours: rapid.String().Draw(t, "hours"), Repeat: duration.Draw(t, "w.repeat")}},
			Findings: []plan.Finding{{Check: text.Draw(t, "check"), Severity: plan.Warns, Summary: rapid.String().Draw(t, "summary"), Detail: valid(texts.Draw(t, "f.detail"))}},
			Steps: []plan.Step{{
				Address: text.Draw(t, "address"), Phase: plan.Flip, Action: plan.Change, From: valid(texts.Draw(t, "from")), To: valid(texts.Draw(t, "to")),
				After: valid(texts.Draw(t, "after")), Start: moment("start"), Settle: duration.Draw(t, "settle"), Repeat: duration.Draw(t, "repeat"),
				Until: plan.Until{Converged: rapid.IntRange(0, 5).Draw(t, "converged")}, Undo: plan.Impossible, Detail: valid(texts.Draw(t, "detail")),
			}},
		}
		data, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Where a plan was made doesn't show in its bytes.
func TestZoneOfTheMachineDoesNotShow(t *testing.T) {
	p, err := Decode(sealed(small))
	if err != nil {
		t.Fatal(err)
	}
	tokyo := time.FixedZone("x", 9*3600)
	p.Cutover = p.Cutover.In(tokyo)
	p.Steps[0].Start.At = p.Steps[0].Start.At.In(tokyo)
	if again, err := Encode(p); err != nil || !bytes.Equal(again, sealed(small)) {
		t.Errorf("%v\n%s", err, again)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(small)
	f.Add(strings.Replace(small, "2027", "0000", -1))
	faults.Fuzz(f, func(t *testing.T, text string) {
		if strings.Count(text, "\n") < 2 {
			return
		}
		data := sealed(text)
		p, err := Decode(data)
		if err != nil {
			return
		}
		if again, err := Encode(p); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("taken, and comes out otherwise: %v\n%s", err, again)
		}
	})
}
