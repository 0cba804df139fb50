package secret

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/zalando/go-keyring"
)

// ErrNoEntry is what Options.Keyring returns for an entry that isn't there.
var ErrNoEntry = errors.New("the keyring has no such entry")

// SystemKeyring reads an entry of the keyring of the person who runs the
// program: the Secret Service on Linux (attributes service and username), the
// Keychain on macOS, the Credential Manager on Windows. It returns ErrNoEntry
// or the keyring's own error, and ctx's error when the person is still asked to unlock
// the keyring by then.
func SystemKeyring(ctx context.Context, service, user string) (string, error) {
	type outcome struct {
		value string
		err   error
	}
	done := make(chan outcome, 1) // the library knows no context: a late answer is dropped
	go func() {
		value, err := keyring.Get(service, user)
		if errors.Is(err, keyring.ErrNotFound) {
			err = ErrNoEntry
		}
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// keyring reads the entry that ref names, service/user. problem is empty on success.
func (r *Resolver) keyring(ctx context.Context, ref string) (value, problem, remedy string, err error) {
	service, user, _ := strings.Cut(ref, "/")
	if r.options.Keyring == nil {
		return "", "the keyring can't be asked here", "use env, file or command", nil
	}
	value, err = r.options.Keyring(ctx, service, user)
	switch {
	case errors.Is(err, ErrNoEntry):
		return "", fmt.Sprintf("the keyring has no entry with service %q and user name %q", service, user), fmt.Sprintf(
			"store it: secret-tool store --label=mxodus service %[1]q username %[2]q (Linux), security add-generic-password -s %[1]q -a %[2]q -w (macOS)",
			service, user), err
	case err != nil:
		return "", "the keyring did not answer: " + err.Error(),
			"unlock the keyring of this session; where there is none, as under cron, use env, file or command", err
	}
	return value, "", "", nil
}
