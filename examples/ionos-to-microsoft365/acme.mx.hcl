# A company of eight leaves IONOS for Microsoft 365. What the tenant asks the
# zone for (MX, SPF, autodiscover, DKIM) is not written here: mxodus discover has
# put it into inventory.lock, and the plan says it for review.

migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "2027-01-15T18:00"
}

variable "license" {
  type        = string
  default     = "O365_BUSINESS_PREMIUM" # Microsoft 365 Business Standard
  description = "What each user gets, as the tenant names it"
}

# --- secrets are references: nothing of them reaches a plan or the state ------

secret "mail" {
  csv = "secrets/ionos.csv" # columns address,password; one app password each
}

secret "graph" {
  file = "secrets/graph.pem"
}

secret "dns" {
  env = "IONOS_API_KEY"
}

# --- hosts --------------------------------------------------------------------

source "ionos" {
  region      = "de" # imap.ionos.de:993
  credentials = secret.mail

  limits {
    connections_per_mailbox = 3
    connections_total       = 12
  }
}

target "microsoft365" {
  tenant      = "acme.onmicrosoft.com"
  client_id   = "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11"
  credentials = secret.graph

  oversize {
    limit = "150MB" # the mailboxes' limit is raised to this
  }
}

dns "ionos" {
  credentials = secret.dns

  safety {
    max_deletes = 2
  }
}

smtp "office" {
  host        = "smtp.ionos.de"
  credentials = secret.mail
  from        = "IT <it@acme.example>"
}
