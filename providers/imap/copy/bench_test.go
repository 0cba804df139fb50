package copy

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// BenchmarkDovecotToDovecot copies 2,000 messages of the corpus, and then looks again.
func BenchmarkDovecotToDovecot(b *testing.B) {
	src, dst := dovecots(b)
	src.fill(b, imaptest.Generate(11, 2000))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		if i > 0 {
			_, dst = dovecots(b)
		}
		x := newBench(b, src, dst, b.TempDir(), nil)
		b.StartTimer()
		r := x.pass(providers.BeforeFlip)
		b.StopTimer()
		if r.Copied != 2000 {
			b.Fatalf("%+v", r)
		}
		x.sourceTraffic.take()
		x.targetTraffic.take()
		x.idle(providers.BeforeFlip)
		b.ReportMetric(float64(x.sourceTraffic.take()+x.targetTraffic.take()), "turns/idle-pass")
		b.ReportMetric(float64(r.Octets)/(1<<20), "MiB")
		b.ReportMetric(float64(x.opened.Load()), "connections")
		b.StartTimer()
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(peakRSS(b), "MiB-peak-RSS")
}

// peakRSS is the most memory this process has had, in MiB, 0 where the system doesn't say.
func peakRSS(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	return 0
}
