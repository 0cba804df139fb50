# The smallest complete migration: mailboxes from one IMAP host to another and
# the domain's mail records with them. Everything else has a careful default.

migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "2027-01-15T18:00"
}

source "imap" "old" {
  host        = "imap.old-host.example"
  credentials = secret.old
}

target "imap" "new" {
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
  csv = "secrets/old.csv" # columns address,password
}

secret "new" {
  csv = "secrets/new.csv"
}

secret "tsig" {
  env = "MXODUS_TSIG" # base64, as in BIND's key files
}

domain "acme.example" {
  record "MX" "@" {
    at     = phase.flip
    values = ["10 mx.new-host.example."]
  }

  record "TXT" "@" {
    at     = phase.flip
    match  = "v=spf1" # owns this string of the record set; the others stay
    values = ["v=spf1 mx -all"]
  }
}

mailbox "user" {
  for_each = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source   = each.key
  target   = each.value.target
}
