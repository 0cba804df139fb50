package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type fixedClock struct {
	systemClock
	at time.Time
}

func (c fixedClock) Now() time.Time { return c.at }

// program is the program in a folder, with what it is told and what it prints.
func program(dir, stdin string, tty bool) (*app, *bytes.Buffer, *bytes.Buffer) {
	var out, errOut bytes.Buffer
	return &app{
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errOut, dir: dir, stdinTTY: tty, stop: make(chan struct{}),
		clock: fixedClock{at: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}, environ: []string{"COLUMNS=100", "LANG=C.UTF-8"},
		random: strings.NewReader(strings.Repeat("x", 1000)),
	}, &out, &errOut
}

// TestInitEveryKind: whatever is moved from and to, validate accepts what init
// wrote, also when its tables have been filled in, and fmt leaves it alone.
func TestInitEveryKind(t *testing.T) {
	more := map[string][]string{
		"source imap": {"-source-host", "imap.old.example"}, "target imap": {"-target-host", "imap.new.example"},
		"target microsoft365": {"-tenant", "acme.onmicrosoft.com", "-client-id", "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11", "-country", "DE"},
		"dns rfc2136":         {"-dns-server", "ns1.acme.example:53"}, "dns powerdns": {"-dns-server", "http://127.0.0.1:8081"},
	}
	zones := strings.Fields(dnsKinds)
	all := 0
	for _, from := range strings.Fields(sourceKinds) {
		for _, to := range strings.Fields(targetKinds) {
			for _, dns := range []string{zones[all%len(zones)]} { // each of them at least once
				dir := t.TempDir()
				run := func(args ...string) {
					t.Helper()
					a, out, errOut := program(dir, "", false)
					if code := a.main(context.Background(), args); code != 0 {
						t.Fatalf("%s → %s, %s: mxodus %s: exit code %d\n%s%s", from, to, dns, strings.Join(args, " "), code, out, errOut)
					}
				}
				args := []string{"init", "-name", "acme", "-from", from, "-to", to, "-domain", "acme.example", "-dns", dns}
				for _, k := range []string{"source " + from, "target " + to, "dns " + dns} {
					args = append(args, more[k]...)
				}
				run(args...)
				run("validate")
				run("fmt", "-check")
				columns, err := os.ReadFile(filepath.Join(dir, "mailboxes.csv"))
				if err != nil {
					t.Fatal(err)
				}
				rows := string(columns) + "anna@acme.example,anna@acme.example,Anna\ninfo@acme.example,info@acme.example,Info\n"
				if to == "microsoft365" {
					rows = string(columns) + "anna@acme.example,anna@acme.example,Anna,user,SPB\ninfo@acme.example,info@acme.example,Info,shared,\n"
				}
				for name, text := range map[string]string{
					"mailboxes.csv": rows, "aliases.csv": "alias,address\nall@acme.example,info@acme.example\n",
					"forwarders.csv": "address,deliver\nrechnung@acme.example,belege@tax.example a@b.example\n",
				} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				run("validate")
				all++
			}
		}
	}
	if all < len(zones) {
		t.Errorf("%d combinations were tried", all)
	}
}

// TestInitAsks: a terminal is asked, told what a default is, and asked again
// when an answer can't be used.
func TestInitAsks(t *testing.T) {
	dir := t.TempDir()
	a, _, errOut := program(dir, strings.Join([]string{
		"ionos", "dk", "de", "", "acme", "acme.onmicrosoft.com", "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11", "", "", "acme.example", "ionos", "", "",
	}, "\n")+"\n", true)
	if code := a.main(context.Background(), []string{"init", "-name", "acme"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{
		"IONOS region (com, de, co.uk, es, fr, it) [de]: ", "want one of com, de, co.uk", "[microsoft365]: ", "want the tenant's name",
		"Country of the users, two letters [DE]: ", "Time zone [Europe/Berlin]: ", "Cutover, local time [2026-12-25T18:00]: ",
	} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("%q was not asked:\n%s", want, errOut)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "acme.mx.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`source "ionos"`, `timezone = "Europe/Berlin"`, `usage_location = "DE"`, `env = "IONOS_API_KEY"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("acme.mx.hcl holds no %s:\n%s", want, text)
		}
	}
}
