package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/state"
)

// running is one plan with everything that a command needs to look at it or
// to apply it.
type running struct {
	loaded *config.Loaded
	plan   *plan.Plan
	inv    *inventory.Inventory
	db     *state.DB
	engine *apply.Engine
}

func (r *running) close() { r.db.Close() }

// openRun reads the configuration, the plan at path, the inventory and the
// journal. Systems are wired only when world is set. An empty path is the plan
// that was applied last, else the newest one.
func (a *app) openRun(ctx context.Context, path string, world bool) (*running, error) {
	return a.openJournal(ctx, path, world, state.Open, func(db *state.DB) ([]state.Entry, error) { return db.Entries(ctx, 0) })
}

// openStatus is openRun for what only shows where the migration is: it has no systems and, of the
// passes over each mailbox, which are most of a long journal, the last ones alone.
func (a *app) openStatus(ctx context.Context) (*running, error) {
	open := state.Look
	if !state.Exists(a.dir) {
		open = state.Open
	}
	return a.openJournal(ctx, "", false, open, func(db *state.DB) ([]state.Entry, error) { return db.Recent(ctx, apply.PassEvent, recentPasses) })
}

// recentPasses are more than any status goes by: what converged(n) asks for, and a rate.
const recentPasses = 12

func (a *app) openJournal(ctx context.Context, path string, world bool, open func(string) (*state.DB, error), read func(*state.DB) ([]state.Entry, error)) (*running, error) {
	loaded, err := a.load()
	if err != nil {
		return nil, err
	}
	if path == "" {
		if path, err = a.currentPlan(ctx); err != nil {
			return nil, err
		}
	}
	p, _, err := a.readPlan(a.path(path))
	if err != nil {
		return nil, err
	}
	inv, err := a.readInventory()
	if err != nil {
		return nil, err
	}
	if inv == nil {
		return nil, exitWith(exitRefused, fmt.Errorf("there is no %s beside the plan: mxodus plan writes it", lockFile))
	}
	db, err := open(a.dir)
	if err != nil {
		return nil, err
	}
	r := &running{loaded: loaded, plan: p, inv: inv, db: db}
	entries, err := read(db)
	if err != nil {
		db.Close()
		return nil, err
	}
	r.engine = &apply.Engine{
		Plan: p, Migration: loaded.Migration, Inventory: inv, Journal: db, Record: apply.NewRecord(p, entries),
		Clock: a.clock, Random: a.token, Dir: a.dir, Parallel: parallel(loaded.Migration),
	}
	if world {
		if err := apply.Admit(p, loaded.Migration, inv, entries, ancestors(p, a.knownPlans())); err != nil {
			db.Close()
			return nil, err
		}
		if r.engine.Systems, err = newSystems(a, loaded); err != nil {
			db.Close()
			return nil, err
		}
	}
	return r, nil
}

// currentPlan is the file of the plan that was applied last, else of the newest.
func (a *app) currentPlan(ctx context.Context) (string, error) {
	list, err := a.savedPlans()
	if err != nil {
		return "", err
	}
	applied, err := a.lastApplied(ctx)
	if err != nil {
		return "", err
	}
	if applied != "" {
		if path := a.planFile(applied); path != "" {
			return path, nil
		}
		return "", fmt.Errorf("the plan %s was applied, and its file is no longer in %s: restore it from version control", strings.TrimPrefix(applied, "sha256:")[:8], plansDir)
	}
	if len(list) == 0 {
		return "", fmt.Errorf("there is no plan yet: mxodus plan -out %s/0001.plan makes one", plansDir)
	}
	return list[len(list)-1].path, nil
}

// parallel is how many mailboxes are copied at the same time: as many as the
// tightest host has connections for.
func parallel(m *plan.Migration) int {
	const most = 16
	n := most
	for _, h := range append(append([]plan.Host{}, m.Sources...), m.Targets...) {
		if h.Limits.ConnectionsTotal > 0 && h.Limits.ConnectionsPerMailbox > 0 {
			n = min(n, max(1, h.Limits.ConnectionsTotal/h.Limits.ConnectionsPerMailbox))
		}
	}
	return n
}

// token is a fresh random name for control probes.
func (a *app) token() string { return hex.EncodeToString(a.entropy(8)) }

// entropy reads n random octets. A system without any can't go on: main says so.
func (a *app) entropy(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(a.random, b); err != nil {
		panic("the system has no randomness: " + err.Error())
	}
	return b
}

// holder says who takes the lease.
func holder(command string) state.Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return state.Holder{PID: os.Getpid(), Host: host, Command: "mxodus " + command}
}

// planFile is the file in plans/ of the plan with that digest, "" when there is none. Whether the file
// is sound is found when it is read.
func (a *app) planFile(digest string) string {
	entries, err := os.ReadDir(a.path(plansDir))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		path := filepath.Join(a.path(plansDir), e.Name())
		if filepath.Ext(path) == ".plan" && planfile.DigestLine(path) == digest {
			return path
		}
	}
	return ""
}
