package peers

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

var (
	rows    = flag.String("rows", "", "rows of the table to measure, by comma: small,small-deflate,line,line-deflate,slow,slow-deflate,folders,folders0,bulk,exchange,huge,million; \"\" = none")
	rounds  = flag.Int("rounds", 3, "how often each is measured; the median counts")
	fewer   = flag.Int("peer-rounds", 0, "how often the peers' full copies are measured; 0 = as often as the rest")
	only    = flag.String("only", "", "copiers to measure, by comma; \"\" = all")
	program = flag.String("program", "", "an mxodus to measure; \"\" = the engine of this checkout, in a process of its own")
)

// run is one measurement.
type run struct {
	wall           time.Duration
	rss            float64 // MiB, peak
	source, target imaptest.Traffic
}

// copier is what is measured. command returns a process that brings an account of the target up to date, nil
// where the copier isn't installed; dir is the same one for each account.
type copier struct {
	name    string
	command func(w *world, account, dir string) *exec.Cmd
}

func mxodus() copier {
	return copier{"mxodus", func(w *world, account, dir string) *exec.Cmd {
		ca := filepath.Join(dir, "ca.pem")
		a, _ := os.ReadFile(w.source.CAFile())
		b, _ := os.ReadFile(w.target.CAFile())
		os.WriteFile(ca, append(a, b...), 0o600)
		url := func(user string, p *imaptest.Proxy) string {
			return fmt.Sprintf("imaps://%s@localhost:%d", strings.ReplaceAll(user, "@", "%40"), p.Port())
		}
		if *program == "" {
			return engine(w, account, dir, ca)
		}
		cmd := exec.Command(*program, "copy", "-deletes", "mirror", "-state", filepath.Join(dir, "state"), "-ca-file", ca,
			"-source-password", "env:BENCH_PASSWORD", "-target-password", "env:BENCH_PASSWORD", url(sourceUser, w.sourceProxy), url(account, w.targetProxy))
		cmd.Env = append(os.Environ(), "BENCH_PASSWORD="+password)
		return cmd
	}}
}

func installed(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func mbsync() copier {
	return copier{"mbsync", func(w *world, account, dir string) *exec.Cmd {
		path := installed("mbsync")
		if path == "" {
			return nil
		}
		var b strings.Builder
		for _, s := range []struct {
			name, user string
			proxy      *imaptest.Proxy
			ca         string
		}{{"src", sourceUser, w.sourceProxy, w.source.CAFile()}, {"dst", account, w.targetProxy, w.target.CAFile()}} {
			fmt.Fprintf(&b, "IMAPAccount %[1]s\nHost localhost\nPort %[2]d\nUser %[3]s\nPass %[4]s\nSSLType IMAPS\nSystemCertificates no\nCertificateFile %[5]s\n\nIMAPStore %[1]s\nAccount %[1]s\n\n",
				s.name, s.proxy.Port(), s.user, password, s.ca)
		}
		fmt.Fprintf(&b, "Channel all\nFar :src:\nNear :dst:\nPatterns *\nSync Pull\nCreate Near\nRemove Near\nExpunge Near\nCopyArrivalDate yes\nSyncState %s/\n", dir)
		conf := filepath.Join(dir, "mbsyncrc")
		os.WriteFile(conf, []byte(b.String()), 0o600)
		return exec.Command(path, "-c", conf, "-q", "-a")
	}}
}

func interimap() copier {
	return copier{"interimap", func(w *world, account, dir string) *exec.Cmd {
		path := installed("interimap")
		if path == "" {
			return nil
		}
		var b strings.Builder
		fmt.Fprintf(&b, "database = %s/state.db\n\n", dir)
		for _, s := range []struct {
			name, user string
			proxy      *imaptest.Proxy
			ca         string
		}{{"local", account, w.targetProxy, w.target.CAFile()}, {"remote", sourceUser, w.sourceProxy, w.source.CAFile()}} {
			fmt.Fprintf(&b, "[%s]\ntype = imaps\nhost = localhost\nport = %d\nusername = %s\npassword = %s\nSSL_verify = YES\nSSL_CAfile = %s\n\n", s.name, s.proxy.Port(), s.user, password, s.ca)
		}
		conf := filepath.Join(dir, "interimap.conf")
		os.WriteFile(conf, []byte(b.String()), 0o600)
		return exec.Command(path, "--config="+conf, "--quiet")
	}}
}

// dsync reads the source by IMAP and writes the target's files itself: it has only one of the two lines before it.
func dsync() copier {
	return copier{"dsync", func(w *world, account, dir string) *exec.Cmd {
		return w.target.Doveadm("-o", "imapc_host=localhost", "-o", fmt.Sprintf("imapc_port=%d", w.sourceProxy.Port()), "-o", "imapc_ssl=imaps",
			"-o", "ssl_client_ca_file="+w.source.CAFile(), "-o", "imapc_user="+sourceUser, "-o", "imapc_password="+password,
			"-o", "imapc_features=rfc822.size fetch-headers", "-o", "mail_prefetch_count=20", "backup", "-R", "-u", account, "imapc:")
	}}
}

func imapsync() copier {
	return copier{"imapsync", func(w *world, account, dir string) *exec.Cmd {
		path := installed("imapsync")
		if path == "" {
			return nil
		}
		secret := filepath.Join(dir, "password")
		os.WriteFile(secret, []byte(password+"\n"), 0o600)
		cmd := exec.Command(path, "--nolog", "--noreleasecheck", "--delete2", "--delete2folders",
			"--host1", "localhost", "--port1", fmt.Sprint(w.sourceProxy.Port()), "--ssl1", "--user1", sourceUser, "--passfile1", secret,
			"--host2", "localhost", "--port2", fmt.Sprint(w.targetProxy.Port()), "--ssl2", "--user2", account, "--passfile2", secret)
		cmd.Dir = dir
		return cmd
	}}
}

// measure runs a process and watches it.
func (w *world) measure(t testing.TB, name string, cmd *exec.Cmd) run {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.sourceProxy.Reset()
	w.targetProxy.Reset()
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var r run
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			r.rss = max(r.rss, peakRSS(cmd.Process.Pid))
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err := cmd.Wait()
	r.wall = time.Since(begin)
	close(ended)
	<-watched
	if err != nil && name == "mxodus" {
		t.Fatalf("%s: %v\n%.2000s", name, err, out.String())
	}
	if err != nil { // dsync ends with 2 when it wants to be run again
		t.Logf("%s: %v: %.300s", name, err, out.String())
	}
	r.source, r.target = w.sourceProxy.Traffic(), w.targetProxy.Traffic()
	return r
}

func peakRSS(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

func median[T cmp.Ordered](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// load says how busy the machine is besides, for who reads the figures.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:min(3, len(strings.Fields(string(b))))], " ")
}

// TestTable measures the rows that -rows names and prints them as a table.
func TestTable(t *testing.T) {
	if *rows == "" {
		t.Skip(`measures nothing unless told what: "make bench", or go test -run TestTable -rows small,folders,bulk -v`)
	}
	t.Logf("load at the beginning: %s", load())
	t.Logf("process start of mxodus and everything else counts; medians of %d; \"turns\" are those of source/target", *rounds)
	for name := range strings.SplitSeq(*rows, ",") {
		switch name {
		case "small":
			table(t, "2,000 messages, 125 MB, 12 folders, 20 ms", small, 20*time.Millisecond)
		case "small-deflate":
			table(t, "2,000 messages, 125 MB, 12 folders, 20 ms, with COMPRESS=DEFLATE", smallPacked, 20*time.Millisecond)
		case "slow":
			table(t, "400 messages, 25 MB, 12 folders, 20 ms, 16 Mbit/s", slow, 20*time.Millisecond)
		case "slow-deflate":
			table(t, "400 messages, 25 MB, 12 folders, 20 ms, 16 Mbit/s, with COMPRESS=DEFLATE", slowPacked, 20*time.Millisecond)
		case "line":
			table(t, "2,000 messages, 125 MB, 12 folders, 20 ms, 100 Mbit/s", line, 20*time.Millisecond)
		case "line-deflate":
			table(t, "2,000 messages, 125 MB, 12 folders, 20 ms, 100 Mbit/s, with COMPRESS=DEFLATE", deflated, 20*time.Millisecond)
		case "folders":
			table(t, "1,993 messages, 57 MB, 229 folders, 20 ms", manyFolders, 20*time.Millisecond)
		case "folders0":
			table(t, "1,993 messages, 57 MB, 229 folders, 0 ms", manyFolders, 0)
		case "exchange":
			table(t, "1,993 messages, 57 MB, 229 folders, 20 ms, with the capabilities of Exchange Online", exchange, 20*time.Millisecond)
		case "huge":
			table(t, "500,000 messages, 300 MB, 1 folder, 0 ms", huge, 0)
		case "million":
			table(t, "1,000,000 messages, 600 MB, 1 folder, 0 ms", million, 0)
		case "bulk":
			table(t, "20,000 messages, 484 MB, 4 folders, 0 ms", bulk, 0)
		default:
			t.Fatalf("no row is called %q", name)
		}
	}
}

func table(t *testing.T, title string, c corpus, delay time.Duration) {
	copiers := []copier{mxodus(), mbsync(), interimap(), dsync(), imapsync()}
	if *only != "" {
		copiers = slices.DeleteFunc(copiers, func(c copier) bool { return !slices.Contains(strings.Split(*only, ","), c.name) })
	}
	if c.alone || c.capabilities != "" {
		copiers = copiers[:1]
	}
	t.Run(title, func(t *testing.T) {
		w := newWorld(t, c, (len(copiers)+2)**rounds, delay)
		accounts := w.accounts
		account := func() string {
			a := accounts[0]
			accounts = accounts[1:]
			return a
		}
		measured := map[string]map[string][]run{"full": {}, "unchanged": {}, "delta": {}}
		note := func(work, name string, r run) {
			measured[work][name] = append(measured[work][name], r)
			t.Logf("%-9s %-12s %7.3f s  %5.0f MiB  turns %d/%d  octets %.1f/%.1f MB", work, name, r.wall.Seconds(), r.rss, r.source.Turns, r.target.Turns,
				float64(r.source.In+r.source.Out)/1e6, float64(r.target.In+r.target.Out)/1e6)
		}
		floor := func(work, name string, do func()) {
			w.sourceProxy.Reset()
			w.targetProxy.Reset()
			begin := time.Now()
			do()
			note(work, name, run{wall: time.Since(begin), source: w.sourceProxy.Traffic(), target: w.targetProxy.Traffic()})
		}
		config := w.trust()
		// The peers' times are those of the line and hardly differ from round to round.
		late := func(round, i int) bool { return *fewer > 0 && round >= *fewer && i > 0 }
		last := map[string]func() *exec.Cmd{}
		lastAccount := map[string]string{}
		for round := range *rounds {
			for _, x := range []struct {
				name  string
				batch int
			}{{"floor", 1}, {"floor-multi", 100}} {
				if c.alone || c.capabilities != "" {
					continue
				}
				to := account()
				floor("full", x.name, func() {
					floorCopy(t, w.sourceProxy.Address(), w.targetProxy.Address(), config, sourceUser, to, x.batch)
				})
				lastAccount["floor"] = to
			}
			for i, x := range copiers {
				if late(round, i) {
					continue
				}
				to := account()
				dir := filepath.Join(w.state, fmt.Sprint(x.name, round))
				os.MkdirAll(dir, 0o700)
				cmd := x.command(w, to, dir)
				if cmd == nil {
					t.Logf("%s is not installed", x.name)
					continue
				}
				note("full", x.name, w.measure(t, x.name, cmd))
				last[x.name] = func() *exec.Cmd { return x.command(w, to, dir) }
				lastAccount[x.name] = to
			}
		}
		for round := range *rounds {
			if !strings.Contains(c.capabilities, "IMAP4rev1") && !c.alone {
				floor("unchanged", "floor", func() {
					floorScan(t, w.sourceProxy.Address(), w.targetProxy.Address(), config, sourceUser, lastAccount["floor"])
				})
			}
			for i, x := range copiers {
				if last[x.name] != nil && !late(round, i) {
					note("unchanged", x.name, w.measure(t, x.name, last[x.name]()))
				}
			}
		}
		for round := range *rounds {
			w.change(t)
			for i, x := range copiers {
				if last[x.name] != nil && !late(round, i) {
					note("delta", x.name, w.measure(t, x.name, last[x.name]()))
				}
			}
		}
		if to := lastAccount["mxodus"]; c.alone {
			if n := w.count(t, to); n != c.messages+80**rounds {
				t.Errorf("%d messages are at the target, want %d", n, c.messages+80**rounds)
			}
		} else if to != "" {
			a := imaptest.Read(t, w.source.Address(), nil, sourceUser, password)
			b := imaptest.Read(t, w.target.Address(), nil, to, password)
			if lines := imaptest.Diff(a, b, nil); len(lines) > 0 {
				t.Errorf("mxodus left %d differences:\n%s", len(lines), strings.Join(lines[:min(10, len(lines))], "\n"))
			}
		}
		var b strings.Builder
		fmt.Fprintf(&b, "\n%s\n\nload %s\n\n| work | copier | seconds | × floor | mxodus is faster by | turns | MB on the wire | MiB |\n|---|---|---|---|---|---|---|---|\n", title, load())
		for _, work := range []string{"full", "unchanged", "delta"} {
			wall := func(name string) float64 {
				var list []time.Duration
				for _, r := range measured[work][name] {
					list = append(list, r.wall)
				}
				if len(list) == 0 {
					return 0
				}
				return median(list).Seconds()
			}
			for _, name := range []string{"floor", "floor-multi", "mxodus", "mbsync", "interimap", "dsync", "imapsync"} {
				list := measured[work][name]
				if len(list) == 0 {
					continue
				}
				var rss []float64
				for _, r := range list {
					rss = append(rss, r.rss)
				}
				r := list[len(list)-1]
				ratio, faster := "", ""
				if f := wall("floor"); f > 0 {
					ratio = fmt.Sprintf("%.2f", wall(name)/f)
				}
				if m := wall("mxodus"); m > 0 && name != "mxodus" {
					faster = fmt.Sprintf("%.2f", wall(name)/m)
				}
				fmt.Fprintf(&b, "| %s | %s | %.3f | %s | %s | %d/%d | %.2f/%.2f | %.0f |\n", work, name, wall(name), ratio, faster, r.source.Turns, r.target.Turns,
					float64(r.source.In+r.source.Out)/1e6, float64(r.target.In+r.target.Out)/1e6, slices.Max(rss))
			}
		}
		t.Log(b.String())
	})
}
