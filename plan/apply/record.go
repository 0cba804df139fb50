package apply

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// Journal is where the engine writes what it did before and after it does
// it. *state.DB is one. Append is durable when it returns.
type Journal interface {
	Append(ctx context.Context, entries ...state.Entry) error
	Entries(ctx context.Context, after int64) ([]state.Entry, error)
}

// Events of the journal. They are read back by later versions: a name's
// meaning never changes.
const (
	evRun       = "run.started"   // apply began; data.command
	evRunEnd    = "run.ended"     // data.exit
	evPreflight = "preflight"     // every login that the plan needs worked
	evPhase     = "phase.done"    // data.phase
	evGate      = "gate.opened"   // data.gate, data.by
	evCheck     = "check"         // an answer that changed; data is an Answer
	evEvidence  = "evidence"      // what a gate opened on; data.gate, data.answers
	evPolicy    = "policy"        // an MTA-STS policy that was seen for the first time; data.domain, data.STS
	evServers   = "servers"       // what each name server says of a record that was changed; data.views
	evResolvers = "resolvers"     // what each observed resolver says of a record that was flipped; data.views
	evHigh      = "ttl.high"      // a server gives the old TTL again
	evFlip      = "flip.started"  // the first write of the flip is about to be made
	evSnapshot  = "zone.snapshot" // data.domain, data.sets, data.complete
	evBack      = "rolled.back"   // a rollback plan begins; data.phase
	evBackPlan  = "rollback.plan" // data.file, data.of
	evStarted   = "started"       // the step is about to touch the world
	evApplied   = "applied"       // the change was accepted
	evSeen      = "seen"          // the outcome is visible everywhere
	evDone      = "done"          // data.how
	evFailed    = "failed"        // data.error, data.reason
	evDrift     = "drift"         // data.want, data.found
	evPass      = PassEvent       // data is a passEntry
	evTold      = "told"          // a person was told what to do
	evWord      = "word"          // a person said that it is done
	evSending   = "sending"       // data.to
	evSent      = "sent"          // data.to
	evUnsent    = "unsent"        // data.to: refused before it was taken
	evClosed    = "closed"        // the mailbox's copy is closed; data.address
	evArchived  = "archived"      // data.files: name -> SHA-256
	evStraggler = "straggler"     // mail reached the source after the flip; data is a Straggler
	evProbe     = "probe"         // a message of a probe was sent, found or given up; data is a ProbeResult
)

// PassEvent is the event of a pass, by far the most frequent one of a journal.
const PassEvent = "pass"

// passEntry is what the journal keeps of a pass.
type passEntry struct {
	Key    string
	Mode   providers.PassMode
	Began  time.Time
	Result providers.PassResult
}

// recentPasses is how many passes are remembered one by one.
const recentPasses = 24

// Failure is why a step could not be done.
type Failure struct {
	At     time.Time
	Error  string
	Reason providers.Reason
}

// Drift is a step that met neither what it wanted nor what it was planned against.
type Drift struct {
	At    time.Time
	Want  []string
	Found []string
}

// StepState is what the journal says of one step of the plan.
type StepState struct {
	Started, Applied, Seen, Done time.Time
	How                          string // of Done: "changed", "already", "proven", "word", ...
	Told, Word                   time.Time
	Failed                       *Failure
	Drift                        *Drift
	Passes                       int
	Quiet                        int       // passes in a row that found nothing to do
	Recent                       []bool    // of the newest passes, oldest first: did it find nothing to do?
	LastPass                     time.Time // end of the last one
	LastBegan                    time.Time
	LastCopied                   time.Time // end of the last one that copied a message
	Copied                       int       // over all passes
	Result                       providers.PassResult
	Sending, Sent                map[string]time.Time // by recipient
	Files                        map[string]string    // of an archive
	High                         time.Time            // when the old TTL was last served again
	Servers                      []ServerView         // what each name server said last
	Fits                         map[string]time.Time // since when a name server serves what is wanted
	Resolvers                    []ServerView         // what each observed resolver said last
	ResolverFits                 map[string]time.Time
	Receipts                     map[string]string      // what the server said when it took a notice, by recipient
	Probes                       map[string]ProbeResult // of a probe, by way and mailbox
}

// Record is the journal folded into what is true now. The zero value is not
// usable; NewRecord makes one.
type Record struct {
	mu     sync.Mutex
	plan   *plan.Plan
	keys   map[string]string // step address -> key
	steps  map[string]*StepState
	ends   map[plan.Phase]time.Time
	gates  map[string]time.Time
	checks map[string]Answer
	closed map[string]bool

	flipped    time.Time // when the flip's first write was about to be made; zero before and after a rollback
	touched    bool      // the flip was begun at some time, also when it was rolled back since
	rolling    bool      // this plan is a rollback and has begun
	preflight  bool
	backPlan   string // digest of the plan that the newest rollback plan takes back
	backFile   string
	lastSeq    int64
	snapshots  map[string][]plan.RRset
	mailPass   map[string]time.Time // last pass of any kind, by source address
	traces     map[string]brought   // likewise: what it brought
	stragglers map[string]Straggler // by key
	probes     map[string]bool      // Message-IDs of probes
	policies   map[string][]seenPolicy
	lastAt     time.Time // of the newest entry
}

// stepKey tells whether an entry of an earlier plan is about the same thing.
// A pass over the same mailbox by the same rules stays valid under a new plan.
// Records of DNS and what follows the flip belong to the plan they were made
// under, because the world is looked at again anyway.
func stepKey(p *plan.Plan, s plan.Step) string {
	kind := kindOf(s)
	switch {
	case p.Rollback != "":
	case kind == "notice":
		// By name alone: one more recipient must not mean that everybody gets it again.
		return string(plan.FingerprintOf(s.Address))
	case kind == "copy" || kind == "retire":
		return string(plan.FingerprintOf(s.Address, string(s.Expect), strings.Join(s.To, "\n")))
	case dnsRole(s.Address) == roleTTL:
		// A low TTL that was seen under an earlier plan has been running out since.
		return string(plan.FingerprintOf(s.Address, strings.Join(s.To, "\n"), s.Settle.String()))
	}
	return string(plan.FingerprintOf(s.Address, p.Digest))
}

// NewRecord folds the journal's entries, oldest first, for plan p.
func NewRecord(p *plan.Plan, entries []state.Entry) *Record {
	r := &Record{
		plan: p, keys: map[string]string{}, steps: map[string]*StepState{},
		ends: map[plan.Phase]time.Time{}, gates: map[string]time.Time{}, checks: map[string]Answer{},
		closed: map[string]bool{}, snapshots: map[string][]plan.RRset{}, mailPass: map[string]time.Time{}, traces: map[string]brought{},
		stragglers: map[string]Straggler{}, probes: map[string]bool{}, policies: map[string][]seenPolicy{},
	}
	for _, s := range p.Steps {
		r.keys[s.Address] = stepKey(p, s)
		r.steps[s.Address] = &StepState{}
	}
	for _, e := range entries {
		r.fold(e)
	}
	return r
}

// entryData is every field that an entry may carry.
type entryData struct {
	Key      string `json:",omitempty"`
	Phase    plan.Phase
	Gate     string
	How      string
	Error    string
	Reason   providers.Reason
	Want     []string
	Found    []string
	To       string
	Address  string
	File     string
	Of       string
	Domain   string
	Sets     []plan.RRset
	Files    map[string]string
	Complete bool
	Answers  []Answer     `json:",omitempty"`
	Views    []ServerView `json:",omitempty"`
	STS      *stsPolicy   `json:",omitempty"`
}

func (r *Record) fold(e state.Entry) {
	r.lastSeq = max(r.lastSeq, e.Seq)
	r.lastAt = later(r.lastAt, e.At)
	var d entryData
	_ = json.Unmarshal(e.Data, &d) // fields that a newer version added are passed over
	if e.Step == "" {
		r.foldRun(e, d)
		return
	}
	if e.Event == evProbe {
		var p ProbeResult
		if json.Unmarshal(e.Data, &p) == nil {
			r.probes[p.ID] = true // also one of another plan
		}
	}
	if e.Event == evPass {
		if kind, address, ok := strings.Cut(e.Step, "/"); ok && kind != "carry_back" {
			r.traced(address, e)
			r.mailPass[address] = e.At
		}
	}
	st := r.steps[e.Step]
	if st == nil || d.Key != r.keys[e.Step] {
		return
	}
	switch e.Event {
	case evStarted:
		st.Started, st.Drift = e.At, nil
	case evApplied:
		st.Applied, st.Failed, st.Drift = e.At, nil, nil
	case evSeen:
		st.Seen, st.Failed = e.At, nil
	case evDone:
		st.Done, st.How, st.Failed, st.Drift = e.At, d.How, nil, nil
	case evFailed:
		st.Failed = &Failure{At: e.At, Error: d.Error, Reason: d.Reason}
	case evDrift:
		st.Drift = &Drift{At: e.At, Want: d.Want, Found: d.Found}
	case evTold:
		st.Told = e.At
	case evHigh:
		st.High = e.At
	case evServers:
		st.Servers, st.Fits = d.Views, fitting(d.Views, st.Fits)
	case evResolvers:
		st.Resolvers, st.ResolverFits = d.Views, fitting(d.Views, st.ResolverFits)
	case evWord:
		st.Word = e.At
	case evSending:
		st.Sending = put(st.Sending, d.To, e.At)
	case evSent:
		st.Sent = put(st.Sent, d.To, e.At)
		if d.How != "" {
			receipts := maps.Clone(st.Receipts)
			if receipts == nil {
				receipts = map[string]string{}
			}
			receipts[d.To] = d.How
			st.Receipts = receipts
		}
	case evUnsent:
		delete(st.Sending, d.To)
	case evArchived:
		st.Files = d.Files
	case evProbe:
		var p ProbeResult
		if json.Unmarshal(e.Data, &p) == nil {
			probes := maps.Clone(st.Probes) // who has the state of before reads on in the old one
			if probes == nil {
				probes = map[string]ProbeResult{}
			}
			probes[p.key()] = p
			st.Probes = probes
		}
	case evPass:
		var p passEntry
		_ = json.Unmarshal(e.Data, &p)
		st.Passes++
		st.LastPass, st.LastBegan, st.Result, st.Failed = e.At, p.Began, p.Result, nil
		st.Copied += p.Result.Copied
		st.Recent = append(slices.Clone(st.Recent[max(0, len(st.Recent)-recentPasses+1):]), !p.Result.Changed())
		if p.Result.Changed() {
			st.Quiet = 0
		} else {
			st.Quiet++
		}
		if p.Result.Copied > 0 {
			st.LastCopied = e.At
		}
	}
}

func (r *Record) foldRun(e state.Entry, d entryData) {
	switch e.Event {
	case evPhase:
		r.ends[d.Phase] = e.At
	case evGate:
		if e.Plan == r.plan.Digest {
			r.gates[d.Gate] = e.At
		}
	case evCheck:
		var a Answer
		if json.Unmarshal(e.Data, &a) == nil && e.Plan == r.plan.Digest {
			r.checks[a.Check.String()] = a
		}
	case evPreflight:
		r.preflight = r.preflight || e.Plan == r.plan.Digest
	case evFlip:
		r.flipped, r.touched = e.At, true
	case evSnapshot:
		delete(r.snapshots, d.Domain)
		if d.Complete {
			r.snapshots[d.Domain] = d.Sets
		}
	case evBackPlan:
		r.backPlan, r.backFile = d.Of, d.File
	case evStraggler:
		var s Straggler
		if json.Unmarshal(e.Data, &s) == nil {
			r.stragglers[s.key()] = s
		}
	case evClosed:
		r.closed[d.Address] = true
	case evPolicy:
		if d.STS != nil {
			r.policies[d.Domain] = append(r.policies[d.Domain], seenPolicy{e.At, *d.STS})
		}
	case evBack:
		if e.Plan == r.plan.Digest {
			r.rolling = true
		}
		if !plan.Flip.Before(d.Phase) {
			r.flipped = time.Time{}
		}
		for p := range r.ends {
			if !p.Before(d.Phase) {
				delete(r.ends, p)
			}
		}
		for _, s := range r.plan.Steps {
			if e.Plan != r.plan.Digest && dnsRole(s.Address) != roleOther && !s.Phase.Before(d.Phase) {
				*r.steps[s.Address] = StepState{}
			}
		}
	}
}

// fitting tells since when each server serves what is wanted, given since when it did before.
func fitting(views []ServerView, before map[string]time.Time) map[string]time.Time {
	fits := map[string]time.Time{}
	for _, v := range views {
		if v.fits() {
			fits[v.Server] = v.At
			if since, ok := before[v.Server]; ok {
				fits[v.Server] = since
			}
		}
	}
	return fits
}

// policyHistory is what runs have seen of the domain's MTA-STS policy, oldest first.
func (r *Record) policyHistory(domain string) []seenPolicy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.policies[domain])
}

// snapshot is the whole zone as it was before the flip was last written; false where it
// could not be listed, or the flip was not written.
func (r *Record) snapshot(domain string) ([]plan.RRset, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sets, ok := r.snapshots[domain]
	return sets, ok
}

// newest is the time of the newest entry.
func (r *Record) newest() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastAt
}

func put(m map[string]time.Time, key string, at time.Time) map[string]time.Time {
	if m == nil {
		m = map[string]time.Time{}
	}
	m[key] = at
	return m
}

// State returns a copy of what is known of the step at address.
func (r *Record) State(address string) StepState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.steps[address]; st != nil {
		return *st
	}
	return StepState{}
}

// Flipped returns when the flip began, the zero time before it.
func (r *Record) Flipped() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flipped
}

// mode is what a pass may do now. Once the flip has begun people work at the
// target; what they did there stays, also after a rollback.
func (r *Record) mode() providers.PassMode {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.touched {
		return providers.AfterFlip
	}
	return providers.BeforeFlip
}

// Closed reports whether the copy of the mailbox is closed for good.
func (r *Record) Closed(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed[address]
}

// PhaseEnd returns when phase p was done.
func (r *Record) PhaseEnd(p plan.Phase) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.ends[p]
	return t, ok
}

// ClosedMailboxes returns the source addresses whose copy is closed, from a
// journal alone; discover leaves them out.
func ClosedMailboxes(entries []state.Entry) map[string]bool {
	return NewRecord(&plan.Plan{}, entries).closed
}

// Opened returns when the gate last opened under the plan, the zero time when it did not.
func (r *Record) Opened(gate string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gates[gate]
}
