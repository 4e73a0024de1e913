// Package detect runs detection rules over the events of the audit trail: Sigma rules,
// Sigma correlations of them, rules about behaviour, and what other packages add as
// Stateful.
//
// Load reads rules, NewEngine makes them ready, Observe takes the events one by one in
// the order of their numbers and gives alerts. The same events give the same alerts:
// nothing here reads a clock or a random number. Run reads the log from where it was
// and writes alerts into it.
//
// The form of a rule's file is in catalog/detections/README.md.
package detect

import (
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/behaviour"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// The audit levels that a rule may need, from the least to the most.
const (
	LevelMetadata        = "Metadata"
	LevelRequest         = "Request"
	LevelRequestResponse = "RequestResponse"
)

// Set is rules that go together.
type Set struct {
	// Rules are the rules and correlations, sorted by Key.
	Rules []*Rule
	// Skipped are rules that say nothing about events that Bulwark has, and why.
	Skipped []Skipped

	vars map[string][]string
}

// Skipped is a rule that was read and is not run.
type Skipped struct {
	Rule, File string
	Line       int
	Why        string
}

// Rule is one rule or correlation.
type Rule struct {
	// Key is what it is called by: its name, else its id, else its title.
	Key  string
	File string
	Line int

	Title, ID, Description, Status, Author     string
	Tags, References, FalsePositives, Interest []string
	Severity                                   bulwark.Severity
	LogSource                                  sigma.LogSource
	// Kinds are the kinds of events that it looks at.
	Kinds []audit.Kind
	// Quiet rules only serve correlations.
	Quiet bool
	// MinimumLevel is the least audit level at which it sees what it needs: what the
	// file says, else what its fields need.
	MinimumLevel string
	// Correlation says that it joins other rules: Bases.
	Correlation bool
	Bases       []*Rule
	// Behaviour is what the rule remembers of the events that meet its selection; nil for
	// others.
	Behaviour *behaviour.Spec
	// Suppress is how alike alerts are held back; a zero For does not.
	Suppress Suppress

	source  *sigma.Rule
	cond    *sigma.Expr // the condition, with the searches in it
	never   *sigma.Expr // of a behaviour: what is told although it is still learned
	own     own
	summary summary
	muted   string // the correlation that made it quiet
}

// Suppress says that alerts whose fields By are alike are one alert for a time.
type Suppress struct {
	By  []string
	For time.Duration
}

// Alert is what a rule found.
type Alert struct {
	// ID is made of the rule and the evidence: the same finding has the same.
	ID       string
	Rule     string
	Title    string
	Severity bulwark.Severity
	Time     time.Time
	Actor    string
	Summary  string
	// Evidence are the numbers of the events, sorted; of very many, the first and the
	// last, and Fields["count"] has how many there were.
	Evidence []uint64
	Tags     []string
	Fields   map[string]string
}

// Stateful is a detection that is no Sigma rule: it looks at every event, remembers,
// and emits alerts. Its name tells its state from that of others.
type Stateful interface {
	Name() string
	Observe(e *audit.Event, emit func(Alert))
	State() ([]byte, error)
	Restore(state []byte) error
}
