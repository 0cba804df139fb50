package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// pace is the schedule of a test's migration: seconds for weeks.
type pace struct {
	lead      time.Duration // from the plan to the cutover
	provision time.Duration // before the cutover; also of lowering the TTL and of copying
	notice    time.Duration // before the cutover
	repeat    time.Duration // of passes before the flip
	delta     time.Duration // of passes after it
	hold      time.Duration
}

const testHCL = `migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "{cutover}"
}

secret "old" {
  csv = "secrets/old.csv"
}

secret "new" {
  csv = "secrets/new.csv"
}

secret "post" {
  file = "secrets/post"
}

secret "tsig" {
  env = "TEST_TSIG"
}

source "imap" "old" {
  host        = "127.0.0.1"
  port        = {source}
  ca_file     = "old.pem"
  credentials = secret.old

  limits {
    doubt_grace = "1s"
  }
}

target "imap" "new" {
  host        = "127.0.0.1"
  port        = {target}
  ca_file     = "new.pem"
  credentials = secret.new
  smtp_probe  = "{newMX}"

  limits {
    doubt_grace = "1s"
  }
}

dns "rfc2136" {
  server        = "{update}"
  authoritative = ["{primary}", "{secondary}"]

  key {
    name   = "mxodus."
    secret = secret.tsig
  }
}

smtp "office" {
  host        = "127.0.0.1"
  port        = {oldMX}
  tls         = "implicit"
  ca_file     = "post.pem"
  username    = "it@acme.example"
  credentials = secret.post
  from        = "IT <it@acme.example>"
}

mailbox "user" {
  for_each     = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source       = each.key
  target       = each.value.target
  display_name = each.value.name
}

alias "info" {
  address = "info@acme.example"
  deliver = mailbox.user["anna@acme.example"]
}

distribution_list "team" {
  address = "team@acme.example"
  members = [for m in mailbox.user : m]
}

domain "acme.example" {
  ttl {
    during  = 2
    restore = 4
  }

  record "MX" "@" {
    at     = phase.flip
    values = ["10 mail.acme.example."]
  }

  record "TXT" "@" {
    at     = phase.flip
    match  = "v=spf1"
    values = ["v=spf1 mx -all"]
  }

  record "CNAME" "autodiscover" {
    at     = phase.flip
    values = ["mail.acme.example."]
  }
}

schedule {
  phase "provision" {
    start = before(cutover, "{provision}")
  }

  phase "lower_ttl" {
    start = before(cutover, "{provision}")
  }

  phase "bulk_copy" {
    start  = phase.lower_ttl.start
    repeat = "{repeat}"
  }

  phase "notice" {
    start = before(cutover, "{notice}")
  }

  phase "flip" {
    start = cutover
    gate  = gate.flip
  }

  phase "delta" {
    start  = phase.flip.end
    repeat = "{delta}"
    until  = converged(3)
  }

  phase "hold" {
    start  = phase.validate.end
    until  = after(phase.validate.end, "{hold}")
    repeat = "{delta}"
  }
}

notify "users" {
  at       = phase.notice.start
  to       = [for m in mailbox.user : m]
  via      = smtp.office
  subject  = "Your mailbox moves on {cut}"
  template = "notice.txt"
}
`

// migration writes the folder of a migration whose cutover is the pace's lead from now.
func (w *world) migration(p pace) *folder {
	w.t.Helper()
	text := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
	hcl := strings.NewReplacer(
		"{cutover}", time.Now().Add(p.lead).UTC().Truncate(time.Second).Format(time.RFC3339), "{cut}", "{cutover}",
		"{source}", fmt.Sprint(w.source.port()), "{target}", fmt.Sprint(w.target.port()),
		"{update}", cmp.Or(w.dns.update, w.dns.primary), "{primary}", w.dns.primary, "{secondary}", w.dns.secondary, "{oldMX}", fmt.Sprint(w.oldMX.Port), "{newMX}", w.newMX.Addr,
		"{provision}", text(p.provision), "{notice}", text(p.notice), "{repeat}", text(p.repeat), "{delta}", text(p.delta), "{hold}", text(p.hold),
	).Replace(testHCL)
	if w.source.client == nil {
		hcl = strings.NewReplacer(`ca_file     = "old.pem"`, `tls         = "none"`, `ca_file     = "new.pem"`, `tls         = "none"`).Replace(hcl)
	}
	table, oldPasswords, newPasswords := "address,target,name\n", "address,password\n", "address,password\n"
	for _, a := range w.people {
		table += a + "," + a + "," + a[:4] + "\n"
		oldPasswords += a + "," + sourcePassword(a) + "\n"
		newPasswords += a + "," + targetPassword(a) + "\n"
	}
	return newFolder(w.t, map[string]string{
		"acme.mx.hcl": hcl, "mailboxes.csv": table, "secrets/old.csv": oldPasswords, "secrets/new.csv": newPasswords,
		"secrets/post": smtpPassword + "\n", "old.pem": w.source.ca, "new.pem": w.target.ca, "post.pem": w.smtpCA,
		"notice.txt": "Dear {name},\n\nyour mailbox {address} moves on {cutover}.\n",
	}, "TEST_TSIG="+w.dns.key.Secret)
}

// secrets are all that the migration used, by name.
func (w *world) secrets() map[string]string {
	all := map[string]string{"the TSIG key": w.dns.key.Secret, "the password of smtp": smtpPassword}
	for _, p := range w.people {
		all["the old password of "+p] = sourcePassword(p)
		all["the new password of "+p] = targetPassword(p)
	}
	return all
}
