package copy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// keepFile writes a message to the quarantine folder and returns its name, which is
// made of its digest and of nothing that came with the mail. What is there
// already under that name has the same octets.
//
// dir is a path below base, the folder of the state. Below a Root no symbolic link leads out of it, whichever part
// of the path it takes the place of.
func keepFile(base, dir string, b *body) (name string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write a refused message to quarantine: %w", err)
		}
	}()
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	state, err := os.OpenRoot(base)
	if err != nil {
		return "", err
	}
	defer state.Close()
	if dir, err = filepath.Rel(base, dir); err != nil {
		return "", err
	}
	if err := state.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	root, err := state.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.Chmod(".", 0o700); err != nil {
		return "", err
	}
	name = b.digest.hex() + ".eml"
	if fi, err := root.Lstat(name); err == nil && fi.Mode().IsRegular() && fi.Size() == b.size && sameOctets(root, name, b) {
		return name, root.Chmod(name, 0o600)
	}
	part := name + ".part"
	if err := root.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, b.open())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return name, root.Rename(part, name)
}

// sameOctets reports whether a file has the octets that its name says.
func sameOctets(root *os.Root, name string, b *body) bool {
	f, err := root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == b.digest.hex()
}
