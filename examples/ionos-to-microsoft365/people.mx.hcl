# Who moves. The lists are kept as spreadsheets; every row is a mailbox or an
# address of its own.

locals {
  people  = csvdecode(file("mailboxes.csv"))
  aliases = csvdecode(file("aliases.csv"))
}

mailbox "user" {
  for_each = { for p in local.people : p.address => p }

  source         = each.key
  target         = each.value.target
  display_name   = each.value.name
  license        = var.license
  usage_location = "DE"
  wave           = tonumber(each.value.wave)

  folders {
    exclude = ["Spam"]
    map     = { "Gesendete Objekte" = "Sent Items", "Papierkorb" = "Deleted Items" }
  }
}

shared_mailbox "info" {
  source       = "info@acme.example"
  target       = "info@acme.example"
  display_name = "Info"
  full_access  = [mailbox.user["anna@acme.example"], mailbox.user["jens@acme.example"]]
  send_as      = [mailbox.user["anna@acme.example"]]
}

alias "all" {
  for_each = { for a in local.aliases : a.alias => a.address }
  address  = each.key
  deliver  = mailbox.user[each.value]
}

distribution_list "team" {
  address  = "team@acme.example"
  members  = [for m in mailbox.user : m]
  external = false
}

forwarder "invoices" {
  address = "rechnung@acme.example"
  deliver = ["belege@steuerberater.example"]
}
