package render

import "github.com/mxodus/mxodus/plan/inventory"

func testEstimates() *inventory.Estimates {
	return &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{
		"anna@acme.example": {Messages: 1310, Octets: 1_234_567_890, Largest: 9},
		"info@acme.example": {Messages: 1, Octets: -1},
	}}
}
