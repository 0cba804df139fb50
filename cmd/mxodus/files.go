package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/state"
)

// Where the files of a migration are, in its folder.
const (
	lockFile      = "inventory.lock"
	plansDir      = "plans"
	estimatesFile = ".mxodus/estimates.json"
)

// readInventory reads inventory.lock; nil without error when there is none yet.
func (a *app) readInventory() (*inventory.Inventory, error) {
	data, err := os.ReadFile(a.path(lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	inv, err := inventory.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", lockFile, err)
	}
	return inv, nil
}

// readEstimates reads what discover measured. The figures only feed forecasts:
// a file that is missing or damaged is as good as none.
func (a *app) readEstimates() *inventory.Estimates {
	data, err := os.ReadFile(a.path(estimatesFile))
	if err != nil {
		return nil
	}
	est, err := inventory.ParseEstimates(data)
	if err != nil {
		return nil
	}
	return est
}

// savedPlan is a plan in plans/.
type savedPlan struct {
	number int
	path   string
}

// planName matches plans in plans/. Rollback plans ("0001-back.plan") are no
// link of the chain: each belongs to the plan it takes back.
var planName = regexp.MustCompile(`^([0-9]{4,9})\.plan$`)

// savedPlans lists plans/, oldest first.
func (a *app) savedPlans() ([]savedPlan, error) {
	entries, err := os.ReadDir(a.path(plansDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []savedPlan
	for _, e := range entries {
		m := planName.FindStringSubmatch(e.Name())
		if m == nil || !e.Type().IsRegular() {
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		list = append(list, savedPlan{n, filepath.Join(a.path(plansDir), e.Name())})
	}
	slices.SortFunc(list, func(x, y savedPlan) int { return x.number - y.number })
	return list, nil
}

// readPlan reads a plan file. An edited one is refused with exit code 4.
func (a *app) readPlan(path string) (*plan.Plan, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("there is no plan at %s: mxodus plan -out %s makes one", a.name(path), a.name(path))
		}
		return nil, nil, err
	}
	p, err := planfile.Decode(data)
	// A file without a digest is another file, not an edited plan.
	if errors.Is(err, planfile.ErrFormat) && !bytes.Contains(data[:min(len(data), 200)], []byte("sha256:")) {
		return nil, nil, fmt.Errorf("%s: %w", a.name(path), err)
	}
	if err != nil {
		return nil, nil, exitWith(exitRefused, fmt.Errorf("%s: %w", a.name(path), err))
	}
	return p, data, nil
}

// chain returns the number and parent of the next plan: one more than the
// newest in plans/, and the digest of that one, or of the rollback plan that was
// applied after it. newest is the plan with that digest, nil for the first.
func (a *app) chain(ctx context.Context) (number int, parent string, newest *plan.Plan, err error) {
	list, err := a.savedPlans()
	if err != nil || len(list) == 0 {
		return 1, "", nil, err
	}
	last := list[len(list)-1]
	newest, _, err = a.readPlan(last.path)
	if err != nil {
		return 0, "", nil, fmt.Errorf("the newest plan must be sound before another follows it: %w", err)
	}
	if newest.Number != last.number {
		return 0, "", nil, exitWith(exitRefused, fmt.Errorf("%s says that it is plan %d: give it back its name", a.name(last.path), newest.Number))
	}
	applied, err := a.lastApplied(ctx)
	if err != nil {
		return 0, "", nil, err
	}
	known := a.knownPlans()
	if back := known[applied]; back != nil && back.Rollback != "" && !slices.Contains(ancestors(newest, known), applied) {
		newest = back
	}
	return last.number + 1, newest.Digest, newest, nil
}

// lastApplied is the digest of the plan that the journal's newest entry
// belongs to, "" when nothing was applied yet.
func (a *app) lastApplied(ctx context.Context) (string, error) {
	if !state.Exists(a.dir) {
		return "", nil
	}
	db, err := state.Look(a.dir)
	if err != nil {
		return "", err
	}
	defer db.Close()
	return db.LastPlan(ctx)
}

// knownPlans are all plans in plans/ by digest, also rollback plans. Files that
// can't be read are left out: who needs one of them misses it by its digest.
func (a *app) knownPlans() map[string]*plan.Plan {
	known := map[string]*plan.Plan{}
	names, err := os.ReadDir(a.path(plansDir))
	if err != nil {
		return known
	}
	for _, e := range names {
		if filepath.Ext(e.Name()) != ".plan" {
			continue
		}
		if p, _, err := a.readPlan(filepath.Join(a.path(plansDir), e.Name())); err == nil {
			known[p.Digest] = p
		}
	}
	return known
}

// ancestors are the digests of the plans that p descends from, nearest first,
// as far as they are known.
func ancestors(p *plan.Plan, known map[string]*plan.Plan) []string {
	var list []string
	for p != nil && p.Parent != "" && !slices.Contains(list, p.Parent) {
		list = append(list, p.Parent)
		p = known[p.Parent]
	}
	return list
}
