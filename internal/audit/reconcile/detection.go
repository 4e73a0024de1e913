package reconcile

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
)

// Detection is a Reconciler beside the detection rules. Its alerts are called
// "reconcile-" and the kind of the finding.
type Detection struct {
	r    *Reconciler
	held map[string]*quiet
}

// quiet holds back findings alike.
type quiet struct {
	Since time.Time `json:"since"`
	Count int       `json:"count,omitempty"`
}

// Findings of one kind and actor are one alert for so long; so many kinds and actors
// are remembered.
const (
	quietFor  = 10 * time.Minute
	mostQuiet = 10_000
	textMost  = 600
)

var (
	_ detect.Stateful = (*Detection)(nil)
	_ detect.Ticker   = (*Detection)(nil)
)

// NewDetection makes a Detection that has seen nothing.
func NewDetection(cfg Config) (*Detection, error) {
	r, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return &Detection{r: r, held: map[string]*quiet{}}, nil
}

// Name tells its state from that of others.
func (d *Detection) Name() string { return "reconcile" }

// Observe takes the next event of the log.
func (d *Detection) Observe(e *audit.Event, emit func(detect.Alert)) {
	d.r.Observe(e, func(f Finding) { d.tell(f, emit) })
}

// Tick tells what time it is.
func (d *Detection) Tick(now time.Time, emit func(detect.Alert)) {
	d.r.Tick(now, func(f Finding) { d.tell(f, emit) })
}

// tell makes an alert, or counts where one like it was raised a short time ago. Time is
// that of the log: who is told of chooses what their events say.
func (d *Detection) tell(f Finding, emit func(detect.Alert)) {
	key := string(f.Kind) + "\n" + f.Actor
	last := d.held[key]
	if last != nil && d.r.now.Sub(last.Since) < quietFor {
		last.Count++
		return
	}
	a := alertOf(f)
	if last != nil && last.Count > 0 {
		a.Fields["suppressed"] = strconv.Itoa(last.Count)
	}
	if len(d.held) >= mostQuiet {
		clear(d.held) // some are told twice; none is lost
	}
	d.held[key] = &quiet{Since: d.r.now}
	emit(a)
}

func alertOf(f Finding) detect.Alert {
	a := detect.Alert{
		Rule: "reconcile-" + string(f.Kind), Severity: bulwark.SeverityHigh, Time: f.Time, Actor: f.Actor, Summary: plain(f.Summary), Evidence: f.Evidence,
		Fields: map[string]string{"finding": string(f.Kind)},
	}
	switch f.Kind {
	case Bypass:
		a.Title, a.Tags = "A request went around Bulwark", []string{"attack.initial-access", "attack.t1078"}
	case Suppression:
		a.Title, a.Tags = "A request through Bulwark is missing in the API server's record", []string{"attack.defense-evasion", "attack.t1562.008"}
	case Forgery:
		a.Title, a.Tags = "A request carries a stamp of Bulwark's that is not its own", []string{"attack.defense-evasion", "attack.t1036"}
		a.Severity = bulwark.SeverityCritical
	case Reuse:
		a.Title, a.Tags = "An audit id of Bulwark's was used again", []string{"attack.defense-evasion", "attack.t1036"}
	}
	return a
}

// plain makes a text one line that a terminal takes.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > textMost {
		return string(r[:textMost]) + "…"
	}
	return s
}

type detectionState struct {
	Reconciler json.RawMessage   `json:"reconciler"`
	Held       map[string]*quiet `json:"held,omitempty"`
}

// State gives what Restore goes on from.
func (d *Detection) State() ([]byte, error) {
	raw, err := d.r.State()
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(detectionState{Reconciler: raw, Held: d.held})
	if err != nil {
		return nil, fmt.Errorf("write state of reconciliation: %w", err)
	}
	return out, nil
}

// Restore goes on from what State gave.
func (d *Detection) Restore(raw []byte) error {
	var s detectionState
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read state of reconciliation: %w", err)
	}
	if err := d.r.Restore(s.Reconciler); err != nil {
		return err
	}
	clear(d.held)
	for key, one := range s.Held {
		if one != nil {
			d.held[key] = one
		}
	}
	return nil
}
