# The domain, when it moves, and whom to tell.

domain "acme.example" {
  spf              = "overlap" # the web shop sends through IONOS until it is moved
  ignore_addresses = ["newsletter@acme.example"]

  ttl {
    during  = 300
    restore = 3600
  }

  # The policy at IONOS is a CNAME to theirs. Ours takes its place.
  record "TXT" "_dmarc" {
    at     = phase.provision
    values = ["v=DMARC1; p=none; rua=mailto:dmarc@acme.example"]
  }
}

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

notify "users" {
  at       = phase.notice.start
  to       = [for m in mailbox.user : m]
  via      = smtp.office
  subject  = "Your mailbox moves on {cutover}"
  template = "notices/cutover.txt"
}
