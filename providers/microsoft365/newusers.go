package microsoft365

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// NewUsersFile is where the first passwords of new users are handed out, once. It is like
// any other table of secrets: columns address and password, mode 0600, never committed.
const NewUsersFile = "secrets/new-users.csv"

// newUsers keeps the table. A password is there before the user is made with it, so a run
// that dies in between loses none; the next one uses it.
type newUsers struct {
	root   string
	random io.Reader
	mu     sync.Mutex
}

// password is the first password of address: the one in the table, or a new one that is in
// it durably when password returns.
func (n *newUsers) password(address string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	root, err := os.OpenRoot(n.root)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.Mkdir("secrets", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("no place for the passwords of new users: %w", err)
	}
	f, err := root.OpenFile(NewUsersFile, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return "", fmt.Errorf("no place for the passwords of new users: %w", err)
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return "", err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1] // a row that a dying run has cut off counts for nothing
	rows, err := csv.NewReader(bytes.NewReader(whole)).ReadAll()
	if err != nil {
		return "", fmt.Errorf("%s can't be read: mend it, or move it away", NewUsersFile)
	}
	for _, row := range rows {
		if len(row) >= 2 && strings.EqualFold(row[0], address) {
			return row[1], nil
		}
	}
	secret, err := n.generate()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if len(whole) < len(data) {
		if err := f.Truncate(int64(len(whole))); err != nil {
			return "", err
		}
	}
	w := csv.NewWriter(&b)
	if len(whole) == 0 {
		_ = w.Write([]string{"address", "password"}) // to memory
	}
	_ = w.Write([]string{address, secret})
	w.Flush()
	if _, err := f.Write(b.Bytes()); err != nil {
		return "", err
	}
	return secret, f.Sync()
}

// What passwords are made of: all kinds of characters, none that looks like another or that a
// spreadsheet or a shell takes for its own.
const (
	lower  = "abcdefghijkmnpqrstuvwxyz"
	upper  = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	digits = "23456789"
	signs  = "._"
)

// generate makes a password of 24 characters that has one of each kind: some 130 bits.
func (n *newUsers) generate() (string, error) {
	pick := func(from string) (byte, error) {
		for { // without a bias towards the first ones
			var b [1]byte
			if _, err := io.ReadFull(n.random, b[:]); err != nil {
				return 0, fmt.Errorf("no randomness for a password: %w", err)
			}
			if int(b[0]) < 256/len(from)*len(from) {
				return from[int(b[0])%len(from)], nil
			}
		}
	}
	kinds := []string{lower, upper, digits, signs}
	out := make([]byte, 24)
	for i := range out {
		from := lower + upper + digits
		if i >= 8 && i < 8+len(kinds) {
			from = kinds[i-8]
		}
		c, err := pick(from)
		if err != nil {
			return "", err
		}
		out[i] = c
	}
	return string(out), nil
}
