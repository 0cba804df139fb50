# A migration as it lies in a repository: what is wanted, what was observed
# (inventory.lock) and what will happen (plans/) are committed together and
# reviewed together. docs/ci.md tells how the pipelines beside this file work.

migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "2027-01-15T18:00"
}

source "imap" {
  host        = "imap.old-host.example"
  credentials = secret.old
}

target "imap" {
  host        = "imap.new-host.example"
  credentials = secret.new
}

dns "rfc2136" {
  server = "ns1.acme.example:53"

  key {
    name   = "mxodus."
    secret = secret.tsig
  }
}

secret "old" {
  csv = "secrets/old.csv"
}

secret "new" {
  csv = "secrets/new.csv"
}

secret "tsig" {
  env = "MXODUS_TSIG"
}

mailbox "user" {
  for_each = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source   = each.key
  target   = each.value.target
}

domain "acme.example" {
  record "MX" "@" {
    at     = phase.flip
    values = ["10 mx.new-host.example."]
  }

  record "TXT" "@" {
    at     = phase.flip
    match  = "v=spf1"
    values = ["v=spf1 mx -all"]
  }
}
