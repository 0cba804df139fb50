package faults

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// planted, when set, gives FuzzPlantedDefect a defect.
const planted = "MXODUS_PLANTED_DEFECT"

// FuzzPlantedDefect is what TestFuzzFindsWhatIsPlanted runs; by itself it finds nothing.
func FuzzPlantedDefect(f *testing.F) {
	kind := os.Getenv(planted)
	f.Add("name = value", []byte("x"), true, 7, uint16(3))
	Fuzz(f, func(t *testing.T, s string, b []byte, _ bool, n int, m uint16) {
		switch {
		case kind == "fail" && strings.Contains(s, "\r\n"):
			t.Errorf("a second line in %q", s)
		case kind == "panic" && n == 1<<63-1:
			panic("overflow")
		case kind == "number" && m == 0:
			t.Fatal("a division by zero")
		case kind == "octets" && len(b) == 0:
			t.Fatal("nothing to read")
		}
	})
}

// TestFuzzFindsWhatIsPlanted: a short round finds a defect that no seed shows, the same one each time, and says by what input; that,
// saved as it says, shows it as a seed.
func TestFuzzFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	run := func(dir, kind string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^FuzzPlantedDefect$")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), planted+"="+kind, CountsFile+"="+filepath.Join(dir, "counts"))
		out, err := cmd.CombinedOutput()
		if (err != nil) != (kind != "none") {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
		return string(out)
	}
	for _, kind := range []string{"fail", "panic", "number", "octets"} {
		dir := t.TempDir()
		input := func(out string) string {
			m := regexp.MustCompile(`a file for testdata/fuzz/FuzzPlantedDefect:\n((?: {8}.*\n)+)`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("%s: no input is named:\n%s", kind, out)
			}
			return strings.ReplaceAll(m[1], strings.Repeat(" ", 8), "")
		}
		first := input(run(dir, kind))
		if second := input(run(dir, kind)); second != first {
			t.Errorf("%s: two runs differ:\n%s\n%s", kind, first, second)
		}
		if _, err := os.Stat(filepath.Join(dir, "counts")); err == nil {
			t.Errorf("%s: a round that failed is counted", kind)
		}
		corpus := filepath.Join(dir, "testdata", "fuzz", "FuzzPlantedDefect")
		if err := os.MkdirAll(corpus, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(corpus, "found"), []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := run(dir, kind); !strings.Contains(out, "FuzzPlantedDefect/found") {
			t.Errorf("%s: as a seed the input shows nothing:\n%s", kind, out)
		}
	}
	dir := t.TempDir()
	run(dir, "none")
	if counts, err := os.ReadFile(filepath.Join(dir, "counts")); err != nil || string(counts) != "fuzz executions\t101\n" {
		t.Errorf("counted %q, %v", counts, err)
	}
}

// TestMutantsLeaveTheirSeedAlone: the octets of a seed are what they were, and most mutants differ from it.
func TestMutantsLeaveTheirSeedAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seed, other := []byte("A1 LOGIN a b\r\n"), []byte("* OK [X] y")
	differ := 0
	for range 5000 {
		if !bytes.Equal(mutatedOctets(rng, seed[:12:14], other), seed[:12]) {
			differ++
		}
		if string(seed) != "A1 LOGIN a b\r\n" || string(other) != "* OK [X] y" {
			t.Fatalf("the seed has become %q, %q", seed, other)
		}
	}
	if differ < 4000 {
		t.Errorf("%d of 5000 mutants differ from their seed", differ)
	}
	for range 2000 {
		mutatedOctets(rng, nil, nil)
	}
}
