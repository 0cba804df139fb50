package render

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A browser shows the report whole, runs nothing of what strangers have put into it, and prints it.
func TestReportInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no Chromium here (Debian: apt-get install chromium)")
	}
	r := testReport(t)
	r.Mailboxes[1].Folders[0].Source = `</td><script>document.title="owned"</script><img src=x onerror='document.title="owned"'>`
	var b bytes.Buffer
	if err := ReportHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	if err := os.WriteFile(page, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + filepath.Join(dir, "profile")}, append(args, "file://"+page)...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("%s doesn't run here: %v", browser, err)
		}
		return out
	}
	dom := string(run("--dump-dom"))
	for _, want := range []string{"<title>acme: report</title>", `class="timeline"`, "kerstin@acme.example", "Sign-off"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page holds no %q", want)
		}
	}
	for _, never := range []string{"<script", "<img", "owned</title>"} {
		if strings.Contains(dom, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	pdf := filepath.Join(dir, "report.pdf")
	run("--no-pdf-header-footer", "--print-to-pdf="+pdf)
	printed, err := os.ReadFile(pdf)
	if err != nil {
		t.Fatal(err)
	}
	if pages := bytes.Count(printed, []byte("/Type /Page\n")); !bytes.HasPrefix(printed, []byte("%PDF-")) || pages < 1 || pages > 6 {
		t.Errorf("printed on %d pages", pages)
	}
}
