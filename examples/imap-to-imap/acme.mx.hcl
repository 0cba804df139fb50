# A company moves from IONOS to its own mail server. The zone stays where it is
# and is edited by hand: mxodus prints what to enter and proves it.

migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "2027-01-15T18:00"
}

variable "new_host" {
  type        = string
  default     = "mail.acme.example"
  description = "The server the mail goes to"
}

locals {
  people  = csvdecode(file("mailboxes.csv"))
  aliases = csvdecode(file("aliases.csv"))
}

# --- secrets are references: nothing of them reaches a plan or the state -------

secret "ionos" {
  csv = "secrets/ionos.csv" # columns address,password; one app password each
}

secret "new" {
  csv = "secrets/new.csv"
}

# --- hosts ---------------------------------------------------------------------

source "ionos" {
  region      = "de" # imap.ionos.de:993
  credentials = secret.ionos

  limits {
    connections_per_mailbox = 3
    connections_total       = 12
  }
}

target "imap" {
  host        = var.new_host
  credentials = secret.new

  limits {
    max_message_size = "50MB"
  }
}

dns "by_hand" {
  observe = ["9.9.9.9"]
}

smtp "office" {
  host        = "smtp.ionos.de"
  port        = 465
  tls         = "implicit"
  username    = "it@acme.example"
  credentials = secret.ionos
  from        = "IT <it@acme.example>"
}

# --- who -----------------------------------------------------------------------

mailbox "user" {
  for_each = { for p in local.people : p.address => p }

  source       = each.key
  target       = each.value.target
  display_name = each.value.name
  wave         = tonumber(each.value.wave)

  folders {
    exclude = ["Spam", "Papierkorb/*"]
    map     = { "Gesendete Objekte" = "Sent" }
  }
}

mailbox "catchall" {
  kind   = "catch_all"
  source = "catchall@acme.example"
  target = "catchall@acme.example"
}

alias "all" {
  for_each = { for a in local.aliases : a.alias => a.address }
  address  = each.key
  deliver  = mailbox.user[each.value]
}

# --- records -------------------------------------------------------------------

domain "acme.example" {
  ignore_addresses = ["newsletter@acme.example"] # read on the web site, no mail

  ttl {
    during  = 300
    restore = 3600
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

# --- when ----------------------------------------------------------------------

schedule {
  phase "bulk_copy" {
    hours = "19:00-07:00" # the line belongs to the office by day
  }

  phase "flip" {
    until = after(cutover, "4h") # later than that somebody has to approve anew
    gate  = gate.flip
  }
}

gate "flip" {
  require = [
    check.every_address_exists_at_target,
    check.bulk_copy_complete,
    check.old_ttl_expired_everywhere,
    check.target_accepts_mail,
    check.rollback_plan_fresh,
  ]

  approve {
    by      = ["kerstin@acme.example", "ops@msp.example"]
    count   = 1
    expires = "24h"
  }
}

# --- whom to tell --------------------------------------------------------------

notify "users" {
  at       = phase.notice.start
  to       = [for m in mailbox.user : m]
  via      = smtp.office
  subject  = "Your mailbox moves on {cutover}"
  template = "notices/cutover.txt"
}
