package copy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// keepFile writes a message to the quarantine folder and returns its name, which is
// made of its digest and of nothing that came with the mail. What is there
// already under that name has the same octets.
func keepFile(dir string, b *body) (name string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write a refused message to quarantine: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// Below a Root no symbolic link leads out of the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	name = b.digest.hex() + ".eml"
	if fi, err := root.Lstat(name); err == nil && fi.Mode().IsRegular() && fi.Size() == b.size {
		return name, nil
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
