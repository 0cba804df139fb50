package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks are a page's code blocks of one language.
func blocks(t *testing.T, path, language string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
		if m[1] == language {
			list = append(list, m[2])
		}
	}
	return list
}

// freeBase is a base whose lab ports are free. It is drawn from below the ports that systems hand out by themselves, whatever their range is,
// so that no other test is given one of them meanwhile.
func freeBase(t *testing.T) int {
	t.Helper()
	var last error
	for range 200 {
		base := 10_000 + rand.IntN(20_000)
		if last = labPortsFree(base); last == nil {
			return base
		}
	}
	t.Fatalf("no base with free ports in 200 draws; the last: %v", last)
	return 0
}

// labPortsFree returns the first error of listening on the lab's ports, and on its DNS port by UDP.
func labPortsFree(base int) error {
	for _, port := range []int{labOld, labNew, labDNS, labMX} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+port)))
		if err != nil {
			return err
		}
		l.Close()
	}
	p, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+labDNS)))
	if err != nil {
		return err
	}
	return p.Close()
}

// TestTutorial types what docs/tutorial.md says, in its order, in one shell. Only the ports
// differ, and the cutover is nearer.
func TestTutorial(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: no bash here")
	}
	program, err := exec.LookPath("mxodus")
	if err != nil {
		t.Fatal(err)
	}
	script := "set -m\nset -e\n" + strings.Join(blocks(t, "../../docs/tutorial.md", "sh"), "\n") + "\necho TUTORIAL-DONE\n"
	base := freeBase(t)
	for _, port := range []int{labOld, labNew, labDNS, labMX} {
		old := fmt.Sprintf("127.0.0.1:%d", labBase+port)
		if !strings.Contains(script, old) {
			t.Errorf("the tutorial doesn't name %s", old)
		}
		script = strings.ReplaceAll(script, old, fmt.Sprintf("127.0.0.1:%d", base+port))
	}
	for old, new := range map[string]string{"demo -servers": fmt.Sprintf("demo -servers -messages 60 -ports %d", base), "+100 seconds": "+12 seconds"} {
		if !strings.Contains(script, old) {
			t.Fatalf("the tutorial doesn't say %q", old)
		}
		script = strings.ReplaceAll(script, old, new)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "COLUMNS=100"}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What runs in the background goes with the shell: it is a session of its own.
	cmd.Cancel = func() error { return endSession(cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = endSession(cmd.Process.Pid) }()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err = <-done
	text := out.String()
	if i := strings.Index(text, "TUTORIAL-DONE"); i < 0 {
		t.Fatalf("the tutorial ends with %v:\n%s", err, text)
	}
	for _, want := range []string{"info@acme.example", "exit code 5", "verifies", "Nothing to do", "complete"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	if report, err := os.ReadFile(filepath.Join(dir, "acme", "report.html")); err != nil || !strings.Contains(string(report), "kasse@acme.example") {
		t.Errorf("the report: %v", err)
	}
}

// endSession ends the processes of a shell's session, by their ids.
func endSession(leader int) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return syscall.Kill(leader, syscall.SIGKILL)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp session …
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 3 && f[3] == strconv.Itoa(leader) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return nil
}

// pages are all pages for users.
func pages(t *testing.T) []string {
	t.Helper()
	list := []string{"../../README.md"}
	for _, glob := range []string{"../../docs/*.md", "../../docs/*/*.md"} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, found...)
	}
	return list
}

// TestDocsHCL: what pages show as HCL is a configuration that validate accepts, whole or
// beside one that brings what it refers to.
func TestDocsHCL(t *testing.T) {
	frame := map[string]string{
		"migration": "migration \"acme\" {\n  cutover = \"2027-01-15T18:00Z\"\n}\n",
		"source":    "source \"imap\" {\n  host        = \"imap.old.example\"\n  credentials = secret.frame\n}\n",
		"target":    "target \"imap\" {\n  host        = \"imap.new.example\"\n  credentials = secret.frame\n}\n",
	}
	n := 0
	for _, page := range pages(t) {
		for i, block := range blocks(t, page, "hcl") {
			n++
			block = strings.ReplaceAll(block, "…", "x") // what is left out
			// A block that stands within another one is shown without it.
			first, _, _ := strings.Cut(block, " ")
			if around, ok := map[string]string{"record": "dns \"by_hand\" {}\ndomain \"acme.example\" {\n%s}\n", "phase": "schedule {\n%s}\n", "probe": "validation {\n%s}\n"}[first]; ok {
				block = fmt.Sprintf(around, block)
			}
			files := map[string]string{"page.mx.hcl": block, "frame.mx.hcl": "secret \"frame\" {\n  env = \"X\"\n}\n",
				"mailboxes.csv": "address,target,name,kind,license,wave\nanna@acme.example,anna@acme.example,Anna,,,1\n", "aliases.csv": "alias,address\ninfo@acme.example,anna@acme.example\n",
				"forwarders.csv": "address,deliver\n", "notices/cutover.txt": "Soon.\n"}
			for typ, text := range frame {
				if !regexp.MustCompile(`(?m)^` + typ + ` `).MatchString(block) {
					files["frame.mx.hcl"] += text
				}
			}
			for name, declared := range map[string]string{"graph": "", "dns": "", "google": "", "mail": "", "tsig": "", "source_mail": "", "target_mail": ""} {
				if strings.Contains(block, "secret."+name) && !strings.Contains(block, `secret "`+name+`"`) {
					files["frame.mx.hcl"] += "secret \"" + name + "\" {\n  env = \"X\"\n}\n" + declared
				}
			}
			f := newFolder(t, files)
			a, out, errOut := program(f.dir, "", false)
			if code := a.main(context.Background(), []string{"validate"}); code != 0 {
				t.Errorf("%s, block %d: exit code %d\n%s\n%s%s", page, i+1, code, block, out, errOut)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d blocks: the test looks at nothing", n)
	}
}

// TestDocsCommands: what pages show as commands of mxodus, the program would take.
func TestDocsCommands(t *testing.T) {
	a, _, _ := program(t.TempDir(), "", false)
	n := 0
	for _, page := range pages(t) {
		for _, block := range blocks(t, page, "sh") {
			block = regexp.MustCompile(`(?s)<<'END'\n.*?\nEND\n`).ReplaceAllString(block, "\n")
			for _, line := range strings.Split(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(block, " "), "\n") {
				line = strings.TrimPrefix(strings.TrimSpace(line), "until ")
				if !strings.HasPrefix(line, "mxodus ") {
					continue
				}
				line = regexp.MustCompile(`\$\([^)]*\)`).ReplaceAllString(line, "2027-01-15T18:00")
				line = regexp.MustCompile(`\s*(\|\||\||;|&&|&|>|2>|<|\s#).*$`).ReplaceAllString(line, "")
				n++
				if err := takes(a, line); err != nil {
					t.Errorf("%s: %q: %v", page, line, err)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("%d commands: the test looks at nothing", n)
	}
}

// TestDocsLinks: pages lead to pages, files and headings that are there.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	for _, page := range pages(t) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			path := page
			if m[1] != "" {
				path = filepath.Join(filepath.Dir(page), filepath.FromSlash(m[1]))
			}
			text, err := os.ReadFile(path)
			if err != nil {
				if info, serr := os.Stat(path); serr != nil || !info.IsDir() {
					t.Errorf("%s leads to %s, which is not there", page, m[1])
				}
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(string(text)), m[2]) {
				t.Errorf("%s leads to %s%s, and there is no such heading", page, m[1], m[2])
			}
		}
	}
}

// anchors are a page's headings as links name them.
func anchors(page string) (list []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		list = append(list, "#"+name)
	}
	return list
}

// TestPlanFormatPage: every attribute that plans are written with is on the page, and none
// that they aren't.
func TestPlanFormatPage(t *testing.T) {
	src, err := os.ReadFile("../../plan/planfile/planfile.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/plan-format.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{"format": true}
	for _, m := range regexp.MustCompile(`w\.(?:String|Strings|Int|Bool)\("([a-z_]+)"`).FindAllStringSubmatch(string(src), -1) {
		written[m[1]] = true
		if !strings.Contains(string(page), "`"+m[1]+"`") {
			t.Errorf("plans have %s, and docs/plan-format.md doesn't", m[1])
		}
	}
	if len(written) < 20 {
		t.Fatalf("%d attributes: the test looks at nothing", len(written))
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+`) \\|").FindAllStringSubmatch(string(page), -1) {
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[1], -1) {
			if !written[name[1]] {
				t.Errorf("docs/plan-format.md has %s, and plans don't", name[1])
			}
		}
	}
}

// TestReadmePicture: what the README shows as a plan is what the program prints for the example.
func TestReadmePicture(t *testing.T) {
	shown := blocks(t, "../../README.md", "")
	if len(shown) == 0 {
		t.Fatal("the README shows no plan")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/ionos-to-microsoft365")); err != nil {
		t.Fatal(err)
	}
	a, out, errOut := program(dir, "", false)
	a.environ = append(a.environ, "COLUMNS=88")
	if code := a.main(context.Background(), []string{"plan", "-offline"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	rest := out.String()
	for line := range strings.SplitSeq(strings.TrimSpace(shown[0]), "\n") {
		if strings.TrimSpace(line) == "…" || line == "" {
			continue
		}
		i := strings.Index(rest, line+"\n")
		if i < 0 {
			t.Fatalf("the program doesn't print this line, or not in this place:\n%s\n%s", line, out)
		}
		rest = rest[i+len(line):]
	}
}
