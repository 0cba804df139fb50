package render

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// sample is a line of the text format: name, labels, value.
var sample = regexp.MustCompile(`^(mxodus_[a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} -?[0-9]+(\.[0-9]+)?$`)

// TestMetricsAreTheTextFormat reads every line by the format's grammar: each sample is under its family, once.
func TestMetricsAreTheTextFormat(t *testing.T) {
	s := testStatus(t)
	s.Migration = "ac\"me\\\n"
	s.NextDelta = &NextDelta{At: s.At.Add(time.Hour), Mailboxes: 2, Known: 2, Messages: 34, Octets: 5_200_000, Takes: 40 * time.Second}
	var b strings.Builder
	if err := StatusMetrics(&b, s); err != nil {
		t.Fatal(err)
	}
	family, seen := "", map[string]bool{}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family = strings.TrimSuffix(name, " gauge")
			if seen[family] {
				t.Errorf("the family %s comes twice", family)
			}
			seen[family] = true
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || m[1] != family {
			t.Errorf("under %s: %s", family, line)
			continue
		}
		key := m[1] + "{" + m[2]
		if seen[key] {
			t.Errorf("twice: %s", line)
		}
		seen[key] = true
	}
	for _, want := range []string{
		`mxodus_phase{migration="ac\"me\\\n",phase="` + string(s.Phase) + `"} 1`, `mxodus_next_delta_messages{migration="ac\"me\\\n"} 34`, `mxodus_next_delta_seconds{migration="ac\"me\\\n"} 40`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, b.String())
		}
	}
}
