package action

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// State is how far a run is. The zero State is not valid.
type State string

// The states of a run. Planned, Undone, Failed and Partly are its end.
const (
	StatePlanned  State = "planned"  // shown, and never carried out
	StateApplying State = "applying" // being carried out
	StateStanding State = "standing" // carried out
	StateUndoing  State = "undoing"  // being taken back
	StateUndone   State = "undone"   // taken back
	StateFailed   State = "failed"   // could not be carried out; what was done is taken back
	StatePartly   State = "partly"   // taken back but for what somebody else has changed since
)

// Object names an object of the cluster.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Resource   string `json:"resource"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// String is how people call it.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Resource + " " + o.Name
	}
	return o.Resource + " " + o.Namespace + "/" + o.Name
}

// Field is one field that changes. A nil value is one that is not there.
type Field struct {
	Path   []string `json:"path"`
	Before any      `json:"before"`
	After  any      `json:"after"`
}

// Change is one write to one object.
type Change struct {
	Do     string `json:"do"`
	Object Object `json:"object"`
	// UID is the object's when it was looked at.
	UID    string  `json:"uid,omitempty"`
	Fields []Field `json:"fields,omitempty"`
	// Body is what is created, or what is kept of what is deleted. Of a Secret it never has
	// the data.
	Body map[string]any `json:"body,omitempty"`
	// Rule is the refusal that is put in front of a SecurityPolicy's own rules.
	Rule map[string]any `json:"rule,omitempty"`

	// Begun is set before the write, Done after it, Undone when it was taken back. Left says
	// why it was not.
	Begun  bool   `json:"begun,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Undone bool   `json:"undone,omitempty"`
	Left   string `json:"left,omitempty"`
	// NewUID is that of what was created.
	NewUID string `json:"newUID,omitempty"`
}

// Run is one plan, and what became of it.
type Run struct {
	ID         string            `json:"id"`
	Action     string            `json:"action"`
	Parameters map[string]string `json:"parameters"`
	State      State             `json:"state"`
	// By is who wanted it, Reason what they said; Alert, Rule and Evidence are what it
	// answers.
	By        string   `json:"by"`
	Automatic bool     `json:"automatic,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Alert     string   `json:"alert,omitempty"`
	AlertSeq  uint64   `json:"alertSeq,omitempty"`
	Rule      string   `json:"rule,omitempty"`
	Evidence  []uint64 `json:"evidence,omitempty"`

	Planned time.Time     `json:"planned"`
	Expiry  time.Duration `json:"expiry"`
	Applied time.Time     `json:"applied,omitzero"`
	Until   time.Time     `json:"until,omitzero"`
	Ended   time.Time     `json:"ended,omitzero"`

	Changes  []*Change `json:"changes"`
	Breaks   []string  `json:"breaks,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`

	// Trouble is what the last attempt to take it back met; Tries counts them and Next is
	// when it is tried again.
	Trouble string    `json:"trouble,omitempty"`
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next,omitzero"`
	// Failure is why it could not be carried out. EndVerb and EndBy say how it ends.
	Failure string `json:"failure,omitempty"`
	EndVerb string `json:"endVerb,omitempty"`
	EndBy   string `json:"endBy,omitempty"`
	// Extended counts the refusals that were put into policies after it stood.
	Extended int `json:"extended,omitempty"`
	// Untold are events that the trail did not take yet.
	Untold []Note `json:"untold,omitempty"`

	uid string // of the object, where the evidence has it
}

// clone gives a copy that nobody else writes to; nil stays nil.
func (r *Run) clone() *Run {
	if r == nil {
		return nil
	}
	raw, err := json.Marshal(r)
	out := &Run{}
	if err == nil {
		err = json.Unmarshal(raw, out)
	}
	if err != nil { // what was read from JSON, or made of its types, is JSON again
		return &Run{ID: r.ID, Action: r.Action, State: r.State, Trouble: err.Error()}
	}
	return out
}

// ended reports whether nothing is left to do for it.
func (r *Run) ended() bool {
	return !slices.Contains([]State{StateApplying, StateStanding, StateUndoing}, r.State)
}

var idPattern = regexp.MustCompile(`^r-[0-9a-f]{12}$`) //nolint:gochecknoglobals // read only

// ledger keeps the runs that were carried out, one file each.
type ledger struct{ dir string }

func (l ledger) path(id string) string { return filepath.Join(l.dir, id+".json") }

// save is durable when it returns.
func (l ledger) save(r *Run) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.MkdirAll(l.dir, 0o700)
	}
	if err == nil {
		err = proof.WriteFile(l.path(r.ID), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep response %s: %w", r.ID, err)
	}
	return nil
}

// load reads all runs. One that cannot be read is an error: what stands and is not known
// would never be taken back.
func (l ledger) load() (map[string]*Run, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]*Run{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the responses that stand: %w", err)
	}
	out := map[string]*Run{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok { // what a write left that did not come to its end
			continue
		}
		text, err := os.ReadFile(filepath.Join(l.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the responses that stand: %w", err)
		}
		r, err := parseRun(text)
		if err == nil && r.ID != id {
			err = fmt.Errorf("it says that it is %q", r.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("read the responses that stand: %s: %w", l.path(id), err)
		}
		out[id] = r
	}
	return out, nil
}

// Standing reads what stands from the folder of an Engine, which may be another
// process's; all wants what ended too. The newest is first.
func Standing(dir string, all bool) ([]Run, error) {
	runs, err := ledger{dir}.load()
	if err != nil {
		return nil, err
	}
	return list(runs, all), nil
}

func list(runs map[string]*Run, all bool) []Run {
	out := []Run{}
	for _, r := range runs {
		if all || !r.ended() {
			out = append(out, *r.clone())
		}
	}
	slices.SortFunc(out, func(a, b Run) int { return cmp.Or(b.Planned.Compare(a.Planned), strings.Compare(a.ID, b.ID)) })
	return out
}

// parseRun reads a run and refuses what no run can be.
func parseRun(text []byte) (*Run, error) {
	r := &Run{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read a run: %w", err)
	}
	if !idPattern.MatchString(r.ID) {
		return nil, fmt.Errorf("%q is no run's id", r.ID)
	}
	states := []State{StatePlanned, StateApplying, StateStanding, StateUndoing, StateUndone, StateFailed, StatePartly}
	if !slices.Contains(states, r.State) {
		return nil, fmt.Errorf("%q is no state", r.State)
	}
	for _, c := range r.Changes {
		if c == nil {
			return nil, errors.New("a change is null")
		}
		if _, ok := kindOf[c.Do]; !ok {
			return nil, fmt.Errorf("%q is no kind of change", c.Do)
		}
	}
	return r, nil
}
