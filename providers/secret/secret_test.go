package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

var _ providers.Secrets = (*Resolver)(nil)

// canary is in every secret of these tests; no error and no printed value may hold it.
const canary = "KANARIE"

func folder(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestResolve(t *testing.T) {
	root := folder(t, map[string]string{
		"secrets/plain.txt":  canary + "-file\n",
		"secrets/crlf.txt":   canary + "\r\n",
		"secrets/pem.txt":    "-----BEGIN\n" + canary + "\n-----END\n\n",
		"secrets/empty.txt":  "\n",
		"secrets/table.csv":  "address,password\nAnna@acme.example," + canary + "1\nleer@acme.example,\n",
		"secrets/excel.csv":  "\ufeffName;Password;Address\r\nAnna;\"" + canary + ";\"\"x\";anna@acme.example\r\n",
		"secrets/twice.csv":  "address,password\na@x.example," + canary + "1\nA@x.example," + canary + "2\nb@x.example,same\nb@x.example,same\n",
		"secrets/quote.csv":  "address,password\na@x.example," + canary + "\"x\n",
		"secrets/short.csv":  "address,password\na@x.example," + canary + ",more\n",
		"secrets/column.csv": "mail,password\na@x.example," + canary + "\n",
		"secrets/latin.csv":  "address,password\na@x.example," + canary + "\xfc\n",
	})
	ref := func(kind, ref string) plan.SecretRef { return plan.SecretRef{Name: "s", Kind: kind, Ref: ref} }
	command := func(argv ...string) plan.SecretRef {
		return plan.SecretRef{Name: "s", Kind: "command", Argv: argv}
	}
	tests := []struct {
		name    string
		ref     plan.SecretRef
		address string
		want    string
		err     string
	}{
		{"env", ref("env", "PW"), "", canary + "-env", ""},
		{"env unset", ref("env", "NONE"), "", "", "NONE is not set"},
		{"env empty", ref("env", "EMPTY"), "", "", "it is empty"},
		{"env by address", ref("env", "PW_{address}"), "anna.b@acme.example", canary + "-anna", ""},
		{"env by address, none", ref("env", "PW_{address}"), "hans@acme.example", "", "PW_HANS_ACME_EXAMPLE is not set"},
		{"env by no address", ref("env", "PW_{address}"), "", "", "there is none here"},
		{"file", ref("file", "secrets/plain.txt"), "", canary + "-file", ""},
		{"file with CRLF", ref("file", "secrets/crlf.txt"), "", canary, ""},
		{"file keeps all but the last newline", ref("file", "secrets/pem.txt"), "", "-----BEGIN\n" + canary + "\n-----END\n", ""},
		{"file empty", ref("file", "secrets/empty.txt"), "", "", "it is empty"},
		{"file missing", ref("file", "secrets/none.txt"), "", "", "there is no file secrets/none.txt"},
		{"file outside", ref("file", "../x"), "", "", "can't be read"},
		{"file is a folder", ref("file", "secrets"), "", "", "is no file"},
		{"csv", ref("csv", "secrets/table.csv"), "anna@ACME.example", canary + "1", ""},
		{"csv as a spreadsheet writes it", ref("csv", "secrets/excel.csv"), "anna@acme.example", canary + ";\"x", ""},
		{"csv without the row", ref("csv", "secrets/table.csv"), "hans@acme.example", "", "no row has this address"},
		{"csv with an empty cell", ref("csv", "secrets/table.csv"), "leer@acme.example", "", "line 3 is empty"},
		{"csv without an address", ref("csv", "secrets/table.csv"), "", "", "looked up by an address"},
		{"csv contradicts itself", ref("csv", "secrets/twice.csv"), "a@x.example", "", "lines 2 and 3"},
		{"csv says it twice", ref("csv", "secrets/twice.csv"), "b@x.example", "same", ""},
		{"csv with a stray quote", ref("csv", "secrets/quote.csv"), "a@x.example", "", "line 2, column"},
		{"csv with a field too many", ref("csv", "secrets/short.csv"), "a@x.example", "", "line 2 has 3 fields"},
		{"csv without the column", ref("csv", "secrets/column.csv"), "a@x.example", "", "columns address and password"},
		{"csv in Latin-1", ref("csv", "secrets/latin.csv"), "a@x.example", "", "not UTF-8"},
		{"command", command("printf", "%s\\nsecond", "pw-{address}"), "a@x.example", "pw-a@x.example", ""},
		{"command in the folder", command("cat", "secrets/plain.txt"), "", canary + "-file", ""},
		{"command without a shell", command("printf", "%s", "$HOME;x"), "", "$HOME;x", ""},
		{"command fails", command("sh", "-c", "cat secrets/pem.txt; cat secrets/pem.txt >&2; exit 3"), "", "", "exit status 3"},
		{"command missing", command("mxodus-no-such-program"), "", "", "there is no program"},
		{"command silent", command("true"), "", "", "it is empty"},
		{"command too loud", command("sh", "-c", "yes"), "", "", "more than a secret"},
		{"command hangs", command("sleep", "60"), "", "", "no answer within"},
		{"address as an option", command("printf", "{address}"), "-v@x.example", "", "begin of an argument"},
		{"keyring", ref("keyring", "mxodus/tsig"), "", canary + "-kept", ""},
		{"keyring, a user with a slash", ref("keyring", "mxodus/a/b"), "", canary + "-slash", ""},
		{"keyring without the entry", ref("keyring", "mxodus/none"), "", "", `secret-tool store --label=mxodus service "mxodus" username "none"`},
		{"keyring locked", ref("keyring", "locked/x"), "", "", "the keyring did not answer: it is locked"},
		{"prompt", ref("prompt", "Password?"), "", canary + "-typed", ""},
		{"nothing", plan.SecretRef{}, "a@x.example", "", "no credentials are given"},
		{"unknown kind", ref("vault", "x"), "", "", "no such kind"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := New(root, Options{
				LookupEnv: environment(map[string]string{
					"PW": canary + "-env", "EMPTY": "", "PW_ANNA_B_ACME_EXAMPLE": canary + "-anna",
				}),
				Prompt: func(_ context.Context, text string) (string, error) {
					if text != "Password?" {
						return "", errors.New("wrong question")
					}
					return canary + "-typed", nil
				},
				Keyring: func(_ context.Context, service, user string) (string, error) {
					switch service + "|" + user {
					case "mxodus|tsig":
						return canary + "-kept", nil
					case "mxodus|a/b":
						return canary + "-slash", nil
					case "locked|x":
						return "", errors.New("it is locked")
					}
					return "", ErrNoEntry
				},
				CommandTimeout: 2 * time.Second,
			})
			got, err := r.Resolve(t.Context(), tt.ref, tt.address)
			if tt.err == "" {
				if err != nil || got.Reveal() != tt.want {
					t.Fatalf("got %q, %v; want %q", got.Reveal(), err, tt.want)
				}
			} else {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want one with %q", err, tt.err)
				}
				if _, ok := errors.AsType[*Error](err); !ok {
					t.Errorf("%T is no *Error", err)
				}
				if strings.Contains(err.Error(), canary) {
					t.Errorf("the error holds the secret: %v", err)
				}
			}
			for _, e := range r.entries {
				if s := fmt.Sprintf("%v %+v %#v", e.value, e.table, e.table); strings.Contains(s, canary) {
					t.Errorf("printing the resolver shows the secret: %s", s)
				}
			}
			if s := strings.Join(r.Warnings(), "\n"); strings.Contains(s, canary) {
				t.Errorf("a warning shows the secret: %s", s)
			}
		})
	}
}

func TestSymlinkOutIsRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	root := folder(t, nil)
	if err := os.Symlink(outside, filepath.Join(root.Name(), "link")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	got, err := New(root, Options{}).Resolve(t.Context(), plan.SecretRef{Name: "s", Kind: "file", Ref: "link"}, "")
	if err == nil {
		t.Errorf("a link out of the folder was followed: %q", got.Reveal())
	}
}

func TestWarnings(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes don't exist here")
	}
	root := folder(t, map[string]string{"open.txt": canary, "closed.txt": canary})
	if err := os.Chmod(filepath.Join(root.Name(), "open.txt"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := New(root, Options{})
	for _, name := range []string{"open.txt", "closed.txt", "open.txt"} {
		if _, err := r.Resolve(t.Context(), plan.SecretRef{Name: "s", Kind: "file", Ref: name}, ""); err != nil {
			t.Fatal(err)
		}
	}
	w := r.Warnings()
	if len(w) != 1 || !strings.Contains(w[0], "chmod 600 open.txt") {
		t.Errorf("warnings: %q", w)
	}
}

// A question is asked once, however many ask at the same time; a failure is
// not kept; who gives up doesn't decide for the others.
func TestOnce(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	r := New(folder(t, nil), Options{Prompt: func(ctx context.Context, _ string) (string, error) {
		if asked.Add(1) == 1 {
			<-ctx.Done()
			return "", ctx.Err()
		}
		<-release
		return canary, nil
	}})
	ref := plan.SecretRef{Name: "s", Kind: "prompt", Ref: "?"}
	first, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.Resolve(first, ref, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
	})
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 8 {
		wg.Go(func() {
			if got, err := r.Resolve(t.Context(), ref, ""); err != nil || got.Reveal() != canary {
				t.Errorf("got %v", err)
			}
		})
	}
	cancel()
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// TestForget: what a command prints may change, what a person typed in doesn't.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	asked := 0
	r := New(root, Options{Prompt: func(context.Context, string) (string, error) { asked++; return "typed", nil }})
	file, prompt := plan.SecretRef{Name: "f", Kind: "file", Ref: "token"}, plan.SecretRef{Name: "p", Kind: "prompt", Ref: "Token"}
	for _, want := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		r.Forget(file, "a@b.example")
		r.Forget(prompt, "a@b.example")
		if got, err := r.Resolve(t.Context(), file, "a@b.example"); err != nil || got.Reveal() != want {
			t.Errorf("got %q, %v, want %q", got.Reveal(), err, want)
		}
		if _, err := r.Resolve(t.Context(), prompt, ""); err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("the person was asked %d times", asked)
	}
}
