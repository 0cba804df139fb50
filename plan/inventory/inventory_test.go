package inventory

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/providers/faults"
)

const sample = `# mxodus inventory, format 1
lineage = "01jgw8z4n6t5q3r2"
recipients = [
  "anna@lab.example",
  "sales@lab.example",
]

domain "lab.example" {
  complete     = true
  negative_ttl = 300
  servers      = ["127.0.0.1:53"]

  rrset "lab.example." "MX" {
    old_ttl = 3600
    records = [
      "300 MX 10 mx00.lab.example.",
      "300 MX 20 mx01.lab.example.",
    ]
  }

  rrset "lab.example." "TXT" {
    records = ["3600 TXT \"v=spf1 mx -all\""]
  }
}

source "imap.old" "anna@lab.example" {
  folders = {
    "Entwürfe" = "1716200003 \\Drafts"
    "INBOX" = "1716200001"
    "a \"b\" $${c}" = "4294967295"
  }
}

source "imap.old" "jens@lab.example" {
  closed = true
}

target "imap.new" "anna@lab.example" {
  exists = true
  folders = {
    "INBOX" = "7"
  }
}

target "imap.new" "jens@lab.example" {
  exists = false
}

target "microsoft365" "anna@lab.example" {
  exists         = true
  kind           = "user"
  display_name   = "Anna"
  usage_location = "DE"
  licenses       = ["O365_BUSINESS_PREMIUM"]
}

address "imap.new" "all@lab.example" {
  exists = true
}

address "microsoft365" "team@lab.example" {
  exists   = true
  kind     = "list"
  external = true
  deliver = [
    "anna@lab.example",
    "jens@lab.example",
  ]
}

directory "microsoft365" {
  license "O365_BUSINESS_PREMIUM" {
    free  = 12
    quota = 53687091200
  }

  domain "lab.example" {
    verified     = true
    dkim_signing = true
    verification = "MS=ms12345678"
    mx           = "lab-example.mail.protection.outlook.com"
    spf          = "v=spf1 include:spf.protection.outlook.com -all"
    autodiscover = "autodiscover.outlook.com"
    dkim = {
      "selector1" = "selector1-lab-example._domainkey.lab.onmicrosoft.com"
    }
  }
}
`

func TestSample(t *testing.T) {
	inv, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample, string(inv.Encode())); diff != "" {
		t.Errorf("not canonical:\n%s", diff)
	}
	anna, ok := inv.Source("imap.old", "anna@lab.example")
	if !ok || len(anna.Folders) != 3 || anna.Folders[0] != (Folder{"Entwürfe", 1716200003, "\\Drafts"}) || anna.Folders[2].Name != `a "b" ${c}` {
		t.Errorf("read %+v", anna)
	}
	d, _ := inv.Domain("lab.example")
	mx := d.Set("lab.example.", "MX")
	if mx.TTL != 300 || mx.OldTTL != 3600 || len(mx.Data) != 2 || d.Set("lab.example.", "TXT").OldTTL != 3600 {
		t.Errorf("read %+v", d.Sets)
	}
	if jens, _ := inv.Source("imap.old", "jens@lab.example"); !jens.Closed {
		t.Error("a closed mailbox came back open")
	}
	if !inv.AddressExists("imap.new", "all@lab.example") || inv.AddressExists("imap.new", "x@lab.example") {
		t.Error("addresses that exist are told wrongly")
	}
	dir, ok := inv.Directory("microsoft365")
	dom, known := dir.Domain("lab.example")
	if l, _ := dir.License("O365_BUSINESS_PREMIUM"); !ok || !known || l.Free != 12 || !dom.Verified || dom.DKIM["selector1"] == "" {
		t.Errorf("read %+v", dir)
	}
	if team, _ := inv.Address("microsoft365", "team@lab.example"); team.Kind != "list" || len(team.Deliver) != 2 || !team.External {
		t.Errorf("read %+v", team)
	}
	if user, _ := inv.Target("microsoft365", "anna@lab.example"); user.DisplayName != "Anna" || !slices.Equal(user.Licenses, []string{"O365_BUSINESS_PREMIUM"}) {
		t.Errorf("read %+v", user)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"format", "format 1", "format 2", `line 1: it has format "2"`},
		{"no inventory", "# mxodus inventory", "# something", "line 1: the first line"},
		{"unknown fact", "complete ", "complote ", "line 9: complote is unknown here"},
		{"TTL", "300 MX 20", "900 MX 20", "line 13: the records of lab.example. MX have different TTLs"},
		{"record", `"300 MX 10 mx00`, `"MX 10 mx00`, "is no MX record"},
		{"uidvalidity", "= \"7\"", "= \"seven\"", `line 41: the folder "INBOX"`},
		{"license twice", "  domain \"lab.example\" {\n    verified ", "  license \"O365_BUSINESS_PREMIUM\" {\n    free = 1\n  }\n\n  domain \"lab.example\" {\n    verified ", "the license \"O365_BUSINESS_PREMIUM\" stands here twice"},
		{"kind", "kind     = \"list\"", "kind     = \"lust\"", "is of kind \"lust\""},
		{"lineage", "lineage = \"01jgw8z4n6t5q3r2\"\n", "", "the lineage is missing"},
		{"twice", `"jens@lab.example" {` + "\n  closed", `"anna@lab.example" {` + "\n  closed", `the source "anna@lab.example" at "imap.old" stands here twice`},
		{"merge conflict", "lineage =", "<<<<<<< ours\nlineage =", "line 2: found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := strings.Replace(sample, c.old, c.new, 1)
			if src == sample {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse([]byte(src))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "inventory.lock: line ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// The digest is of the meaning: order and comments don't change it, facts do.
func TestDigest(t *testing.T) {
	inv, _ := Parse([]byte(sample))
	digest := inv.Digest()
	commented, err := Parse([]byte(strings.ReplaceAll(sample, "\n\n", "\n\n# a comment\n")))
	if err != nil || commented.Digest() != digest {
		t.Errorf("comments change the digest: %v", err)
	}
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, seed))
		shuffled, _ := Parse([]byte(sample))
		shuffle(r, shuffled.Sources)
		shuffle(r, shuffled.Targets)
		shuffle(r, shuffled.Recipients)
		shuffle(r, shuffled.Sources[0].Folders)
		shuffle(r, shuffled.Domains[0].Sets)
		shuffle(r, shuffled.Domains[0].Sets[0].Data)
		if shuffled.Digest() != digest {
			t.Fatal("the order of facts changes the digest")
		}
	})
	for name, change := range map[string]func(*Inventory){
		"uidvalidity": func(i *Inventory) { i.Sources[0].Folders[0].UIDValidity++ },
		"folder":      func(i *Inventory) { i.Sources[0].Folders = i.Sources[0].Folders[1:] },
		"account":     func(i *Inventory) { i.Targets[1].Exists = true },
		"ttl":         func(i *Inventory) { i.Domains[0].Sets[0].TTL++ },
		"old ttl":     func(i *Inventory) { i.Domains[0].Sets[0].OldTTL++ },
		"record":      func(i *Inventory) { i.Domains[0].Sets[1].Data[0] = `"x"` },
		"units":       func(i *Inventory) { i.Directories[0].Licenses[0].Free-- },
		"mx host":     func(i *Inventory) { i.Directories[0].Domains[0].MX = "x.example" },
		"signed":      func(i *Inventory) { i.Domains[0].Signed = true },
		"member":      func(i *Inventory) { i.Addresses[1].Deliver = i.Addresses[1].Deliver[1:] },
		"recipient":   func(i *Inventory) { i.Recipients = append(i.Recipients, "x@lab.example") },
		"closed":      func(i *Inventory) { i.Close(map[string]bool{"anna@lab.example": true}) },
	} {
		c, _ := Parse([]byte(sample))
		change(c)
		if c.Digest() == digest {
			t.Errorf("%s: the digest stayed", name)
		}
	}
}

func shuffle[T any](r *rand.Rand, list []T) {
	r.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
}

// Folder names are identities: NFC and NFD spellings stay two names.
func TestNamesAreNotNormalised(t *testing.T) {
	inv := &Inventory{Lineage: "l", Sources: []Mailbox{{Host: "h", Address: "a@b", Exists: true, Folders: []Folder{{Name: "u\u0308"}, {Name: "\u00fc"}, {Name: "\u200b"}}}}}
	again, err := Parse(inv.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range again.Sources[0].Folders {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"u\u0308", "\u00fc", "\u200b"}) {
		t.Errorf("names came back as %q", names)
	}
}

func TestEstimates(t *testing.T) {
	e := &Estimates{Mailboxes: map[string]MailboxEstimate{"a@b": {10, 2000, 500}, "c@d": {5, -1, -1}}, Recipients: map[string]int{"x@b": 3}, Rate: 1.5}
	again, err := ParseEstimates(e.Encode())
	if err != nil || !cmp.Equal(again, e) {
		t.Errorf("came back as %+v, %v", again, err)
	}
	if m, o := e.Total(); m != 15 || o != 2000 {
		t.Errorf("total is %d, %d", m, o)
	}
	if _, err := ParseEstimates([]byte("{")); err == nil || !strings.Contains(err.Error(), "mxodus discover") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	faults.Fuzz(f, func(t *testing.T, data []byte) {
		inv, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(inv.Encode())
		if err != nil {
			t.Fatalf("what it writes it can't read: %v\n%s", err, inv.Encode())
		}
		if a, b := inv.Encode(), again.Encode(); !bytes.Equal(a, b) {
			t.Fatalf("not stable:\n%s\n%s", a, b)
		}
	})
}
