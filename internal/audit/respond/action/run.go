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

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	// Extended counts how often a refusal was put in after the run stood.
	Extended int `json:"extended,omitempty"`
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
	// Actor is who did what the evidence tells of.
	Actor string `json:"actor,omitempty"`

	Planned time.Time     `json:"planned"`
	Expiry  time.Duration `json:"expiry"`
	Applied time.Time     `json:"applied,omitzero"`
	Until   time.Time     `json:"until,omitzero"`
	// Ending is when it was first tried to take it back.
	Ending time.Time `json:"ending,omitzero"`
	Ended  time.Time `json:"ended,omitzero"`

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
	// Untold are events that the trail did not take yet.
	Untold []Note `json:"untold,omitempty"`

	uid   string    // of the object, where the evidence has it
	since time.Time // of the evidence, the first of it
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

// load reads all runs. With an error it gives those that can be read: what stands of the
// others is not known.
func (l ledger) load() (map[string]*Run, error) {
	out := map[string]*Run{}
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("read the responses that stand: %w", err)
	}
	var wrong error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok { // what a write left that did not come to its end
			continue
		}
		text, err := os.ReadFile(filepath.Join(l.dir, e.Name()))
		var r *Run
		if err == nil {
			r, err = parseRun(text)
		}
		if err == nil && r.ID != id {
			err = fmt.Errorf("it says that it is %q", r.ID)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("read the responses that stand: %s: %w", l.path(id), err))
			continue
		}
		out[id] = r
	}
	return out, wrong
}

// Standing reads what stands from the folder of an Engine, which may be another
// process's; all wants what ended too. The newest is first. With an error they are those
// that can be read.
func Standing(dir string, all bool) ([]Run, error) {
	runs, err := ledger{dir}.load()
	return list(runs, all), err
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
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// check refuses a change that no step makes, so that a file in the folder cannot have
// Bulwark write what an action could not.
func (c *Change) check() error {
	objects, ok := kindOf[c.Do]
	if !ok {
		return fmt.Errorf("%q is no kind of change", c.Do)
	}
	o := c.Object
	kind := objects[o.APIVersion+"/"+o.Resource]
	if c.Do == DoDeny && o.APIVersion == policyVersion && o.Resource == policyResource {
		kind = policyKind
	}
	if kind == "" || o.Kind != kind || o.Name == "" || clusterWide(o.Resource) != (o.Namespace == "") {
		return fmt.Errorf("%s may not touch %s of %s", c.Do, o, o.APIVersion)
	}
	if c.Body == nil {
		return nil
	}
	u := unstructured.Unstructured{Object: c.Body}
	if u.GetAPIVersion() != o.APIVersion || u.GetKind() != kind || u.GetNamespace() != o.Namespace || u.GetName() != o.Name {
		return fmt.Errorf("%s: what is kept is not of %s", c.Do, o)
	}
	return nil
}
