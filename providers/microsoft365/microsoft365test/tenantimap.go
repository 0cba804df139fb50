package microsoft365test

// StartIMAP starts the IMAP side of the tenant: mailboxes open as the tenant's tokens, rights and
// switches say, and a mailbox is there once Exchange has made it. The caller closes it.
func (t *Tenant) StartIMAP(trouble IMAPTrouble) (*Mailboxes, error) {
	m, err := NewMailboxes(IMAPOptions{
		Token: func(mailbox, token string) bool { return t.IMAPLogin(token, mailbox) != Refused },
		Opens: func(mailbox, token string) bool { return t.IMAPLogin(token, mailbox) == Open },
		Clock: t.now, Trouble: trouble,
	})
	if err != nil {
		return nil, err
	}
	t.Lock()
	defer t.Unlock()
	t.made = m.AddAccount
	for _, box := range t.Mailboxes {
		m.AddAccount(box.Address)
	}
	return m, nil
}
