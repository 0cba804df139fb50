# What plan 0003 of acme Remove-Mailbox x leaves to a person in Exchange Online. Read it, then run it in PowerShell 7 with
# the module ExchangeOnlineManagement, signed in as an Exchange Administrator. It may be run again.
# mxodus apply looks whether it was done.
$ErrorActionPreference = 'Stop'
Import-Module ExchangeOnlineManagement
Connect-ExchangeOnline -Organization 'acme.onmicrosoft.com' -ShowBanner:$false

# domain/acme.example/keys
if (-not (Get-DkimSigningConfig -Identity 'acme.example' -ErrorAction SilentlyContinue)) { New-DkimSigningConfig -DomainName 'acme.example' -KeySize 2048 -Enabled $false | Out-Null }
Get-DkimSigningConfig -Identity 'acme.example' | Format-List Selector1CNAME, Selector2CNAME
# write both names into the configuration: record "CNAME" "selector1._domainkey" and "selector2._domainkey" of domain "acme.example"

# shared/info@acme.example
if (-not (Get-Mailbox -Identity 'info@acme.example' -ErrorAction SilentlyContinue)) { New-Mailbox -Shared -Name 'info@acme.example' -DisplayName 'Rem''; Remove-Mailbox x; ‘‘$(Get-Date) & calc' -PrimarySmtpAddress 'info@acme.example' | Out-Null }
Add-MailboxPermission -Identity 'info@acme.example' -User 'anna@acme.example' -AccessRights FullAccess | Out-Null
Add-RecipientPermission -Identity 'info@acme.example' -Trustee 'o''neil@acme.example' -AccessRights SendAs -Confirm:$false | Out-Null
# block the sign-in of its user: https://admin.microsoft.com, Users, info@acme.example, Block sign-in

# access/anna@acme.example
$app = (Get-ServicePrincipal | Where-Object AppId -eq '6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11').ObjectId
if (-not $app) {
  # The object id is the enterprise application's, not the registration's: https://entra.microsoft.com, Enterprise applications.
  $app = Read-Host 'Object ID of the enterprise application'
  New-ServicePrincipal -AppId '6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11' -ObjectId $app -DisplayName 'mxodus' | Out-Null
}
Set-Mailbox -Identity 'anna@acme.example' -MaxReceiveSize 150MB -MaxSendSize 150MB
Set-CASMailbox -Identity 'anna@acme.example' -ImapEnabled $true
Add-MailboxPermission -Identity 'anna@acme.example' -User $app -AccessRights FullAccess -AutoMapping $false | Out-Null

# access/info@acme.example
Set-Mailbox -Identity 'info@acme.example' -MaxReceiveSize 150MB -MaxSendSize 150MB
Set-CASMailbox -Identity 'info@acme.example' -ImapEnabled $true
Add-MailboxPermission -Identity 'info@acme.example' -User $app -AccessRights FullAccess -AutoMapping $false | Out-Null

# catchall/rest@acme.example
if (-not (Get-DynamicDistributionGroup -Identity 'mxodus everyone at acme.example' -ErrorAction SilentlyContinue)) { New-DynamicDistributionGroup -Name 'mxodus everyone at acme.example' -IncludedRecipients AllRecipients | Out-Null }
if (-not (Get-TransportRule -Identity 'mxodus catch-all of acme.example' -ErrorAction SilentlyContinue)) { New-TransportRule -Name 'mxodus catch-all of acme.example' -RecipientDomainIs 'acme.example' -ExceptIfSentToMemberOf 'mxodus everyone at acme.example' -RedirectMessageTo 'rest@acme.example' | Out-Null }
Set-AcceptedDomain -Identity 'acme.example' -DomainType InternalRelay

# alias/sales@acme.example
if (Get-Mailbox -Identity 'anna@acme.example' -ErrorAction SilentlyContinue) { Set-Mailbox -Identity 'anna@acme.example' -EmailAddresses @{Add = 'smtp:sales@acme.example'} } else { Set-DistributionGroup -Identity 'anna@acme.example' -EmailAddresses @{Add = 'smtp:sales@acme.example'} }

# list/team@acme.example
if (-not (Get-DistributionGroup -Identity 'team@acme.example' -ErrorAction SilentlyContinue)) { New-DistributionGroup -Name 'team@acme.example' -Alias 'team' -PrimarySmtpAddress 'team@acme.example' -Type Distribution | Out-Null }
Set-DistributionGroup -Identity 'team@acme.example' -RequireSenderAuthenticationEnabled $true
Add-DistributionGroupMember -Identity 'team@acme.example' -Member 'anna@acme.example' -BypassSecurityGroupManagerCheck -ErrorAction SilentlyContinue

# forwarder/bills@acme.example
if (-not (Get-Recipient -Identity 'x@elsewhere.example' -ErrorAction SilentlyContinue)) { New-MailContact -Name 'x@elsewhere.example' -ExternalEmailAddress 'x@elsewhere.example' | Out-Null }
if (-not (Get-DistributionGroup -Identity 'bills@acme.example' -ErrorAction SilentlyContinue)) { New-DistributionGroup -Name 'bills@acme.example' -Alias 'bills' -PrimarySmtpAddress 'bills@acme.example' -Type Distribution | Out-Null }
Set-DistributionGroup -Identity 'bills@acme.example' -RequireSenderAuthenticationEnabled $false
Add-DistributionGroupMember -Identity 'bills@acme.example' -Member 'x@elsewhere.example' -BypassSecurityGroupManagerCheck -ErrorAction SilentlyContinue

# forwarder/kept@acme.example
if (-not (Get-Mailbox -Identity 'kept@acme.example' -ErrorAction SilentlyContinue)) { New-Mailbox -Shared -Name 'kept@acme.example' -PrimarySmtpAddress 'kept@acme.example' | Out-Null }
if (-not (Get-Recipient -Identity 'x@elsewhere.example' -ErrorAction SilentlyContinue)) { New-MailContact -Name 'x@elsewhere.example' -ExternalEmailAddress 'x@elsewhere.example' | Out-Null }
Set-Mailbox -Identity 'kept@acme.example' -ForwardingAddress 'x@elsewhere.example' -DeliverToMailboxAndForward $true

# domain/acme.example/dkim
Set-DkimSigningConfig -Identity 'acme.example' -Enabled $true

