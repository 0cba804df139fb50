package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
)

// The engine is measured in a process of its own: this test binary, told what to do by
// these variables.
const (
	engineAccount = "MXODUS_PEERS_ACCOUNT"
	engineState   = "MXODUS_PEERS_STATE"
	engineSource  = "MXODUS_PEERS_SOURCE" // port
	engineTarget  = "MXODUS_PEERS_TARGET"
	engineCA      = "MXODUS_PEERS_CA"
	engineProfile = "MXODUS_PEERS_PROFILE" // file; "" = none
)

func engine(w *world, account, dir, ca string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), engineAccount+"="+account, engineState+"="+filepath.Join(dir, "state"), engineCA+"="+ca,
		engineSource+"="+strconv.Itoa(w.sourceProxy.Port()), engineTarget+"="+strconv.Itoa(w.targetProxy.Port()))
	return cmd
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }
func (clock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(engineAccount) != "" {
		if err := runEngine(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runEngine() error {
	if path := os.Getenv(engineProfile); path != "" {
		f, err := os.Create(path + "." + strconv.Itoa(os.Getpid()))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	dialer := func(port string) *imap.Dialer {
		p, _ := strconv.Atoi(os.Getenv(port))
		return &imap.Dialer{Secrets: secret{}, Host: plan.Host{Kind: "imap", Hostname: "localhost", Port: p, TLS: plan.TLSImplicit,
			CAFile: os.Getenv(engineCA), Credentials: plan.SecretRef{Name: "x", Kind: "env", Ref: "X"}, Limits: plan.Limits{StallTimeout: time.Minute}}}
	}
	_, err := copy.Single{
		Source: dialer(engineSource), Target: dialer(engineTarget), SourceAddress: sourceUser, TargetAddress: os.Getenv(engineAccount),
		StateDir: os.Getenv(engineState), Clock: clock{}, Deletes: "mirror",
	}.Run(context.Background())
	return err
}
