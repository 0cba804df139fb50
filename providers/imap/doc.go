// Package imap talks to mail hosts over IMAP4rev1 (RFC 3501) and what servers
// have added since. A Dialer opens sessions; a Session lists, reads and writes the
// folders of one account; Host is the providers.MailHost made of them.
//
// go-imap's client opens the session: greeting, login, capabilities. Then the
// session takes the connection over and speaks for itself (package wire),
// because moving mail needs what that client doesn't give: folders whose names are not
// valid, messages whose UID comes after their octets, many APPENDs on
// their way at once, contexts, and a refusal that leaves the connection alive.
//
// Nothing is sent that the server has not advertised.
package imap
