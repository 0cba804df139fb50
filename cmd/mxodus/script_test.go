package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

var updateScripts = flag.Bool("update", false, "write the screens that scripts compare with")

func TestMain(m *testing.M) {
	// The tests that run side by side wait for phases and name servers far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"mxodus": main})
}

// TestScript runs testdata/script/*.txtar against the real program.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *updateScripts,
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("COLUMNS", "100")
			examples, err := filepath.Abs("../../examples")
			e.Setenv("EXAMPLES", examples)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"inventory": writeInventory,
			"many":      writeMany,
			"smaller":   smaller,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = e.ExitCode()
	}
	if (code == want) == neg {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// writeInventory FILE writes what discover would have found of the migration
// in the scripts: two mailboxes, one of them missing at the target, and the
// zone of acme.example.
func writeInventory(ts *testscript.TestScript, _ bool, args []string) {
	inbox := []inventory.Folder{{Name: "INBOX", UIDValidity: 1}, {Name: "Gesendete Objekte", UIDValidity: 2, SpecialUse: `\Sent`}}
	set := func(name, typ string, ttl uint32, data ...string) inventory.RRset {
		return inventory.RRset{RRset: plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}, OldTTL: ttl}
	}
	inv := &inventory.Inventory{
		Lineage: "01JGW8Z4N6T5Q3R2",
		Sources: []inventory.Mailbox{
			{Host: "imap", Address: "anna@acme.example", Exists: true, Folders: inbox},
			{Host: "imap", Address: "jens@acme.example", Exists: true, Folders: inbox},
		},
		Targets: []inventory.Mailbox{
			{Host: "imap", Address: "anna@acme.example", Exists: true, Folders: inbox[:1]},
			{Host: "imap", Address: "jens@acme.example"},
		},
		Domains: []inventory.Domain{{Name: "acme.example", Servers: []string{"192.0.2.1:53"}, Complete: true, NegativeTTL: 300, Sets: []inventory.RRset{
			set("acme.example.", "MX", 3600, "10 mx.old.example."),
			set("www.acme.example.", "A", 3600, "192.0.2.80"),
		}}},
		Recipients: []string{"anna@acme.example", "bewerbung@acme.example"},
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), inv.Encode(), 0o644))
}

// writeMany N writes mailboxes.csv, aliases.csv and inventory.lock of N users, each
// with an alias and eight folders, who leave IONOS for Microsoft 365.
func writeMany(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for name, data := range manyFiles(n) {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(data), 0o644))
	}
}

// manyFiles are the lists and the inventory of n mailboxes.
func manyFiles(n int) map[string]string {
	var people, aliases strings.Builder
	people.WriteString("address,name\n")
	aliases.WriteString("alias,address\n")
	inv := &inventory.Inventory{Lineage: "01JGW8Z4N6T5Q3R2"}
	for i := range n {
		a := fmt.Sprintf("user%05d@acme.example", i)
		fmt.Fprintf(&people, "%s,User %d\n", a, i)
		fmt.Fprintf(&aliases, "u%05d@acme.example,%s\n", i, a)
		box := inventory.Mailbox{Host: "ionos", Address: a, Exists: true}
		for j, name := range []string{"INBOX", "Gesendete Objekte", "Entwürfe", "Papierkorb", "Spam", "Archiv", "Archiv/2025", "Archiv/2026"} {
			box.Folders = append(box.Folders, inventory.Folder{Name: name, UIDValidity: uint32(i*10 + j + 1)})
		}
		inv.Sources = append(inv.Sources, box)
		inv.Targets = append(inv.Targets, inventory.Mailbox{Host: "microsoft365", Address: a})
		inv.Recipients = append(inv.Recipients, a)
	}
	inv.Directories = []inventory.Directory{{Host: "microsoft365", Licenses: []inventory.License{{Name: "basic", Free: n}},
		Domains: []inventory.DirectoryDomain{{Name: "acme.example", Verified: true, MX: "acme.example.net", SPF: "v=spf1 -all", Autodiscover: "a.example.net"}}}}
	inv.Domains = []inventory.Domain{{Name: "acme.example", Servers: []string{"192.0.2.1:53"}, Complete: true}}
	return map[string]string{"mailboxes.csv": people.String(), "aliases.csv": aliases.String(), "inventory.lock": string(inv.Encode())}
}

// smaller FILE OCTETS wants a file that is not empty and has fewer octets.
func smaller(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	limit, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Logf("%s has %d octets", args[0], info.Size())
	if info.Size() == 0 || info.Size() >= limit {
		ts.Fatalf("%s has %d octets, want fewer than %d", args[0], info.Size(), limit)
	}
}
