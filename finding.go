package bulwark

import "fmt"

// Verdict is what a control says of an object. The zero Verdict is unknown, which
// never counts as pass.
type Verdict uint8

// The verdicts.
const (
	// VerdictUnknown: it could not be judged, for example because something may
	// not be read.
	VerdictUnknown Verdict = iota
	VerdictPass
	VerdictFail
	// VerdictNotApplicable: the control has nothing to say of it, and why.
	VerdictNotApplicable
	// VerdictExcepted: it fails, and an exception that holds says that it may.
	VerdictExcepted
)

var verdicts = [...]string{"unknown", "pass", "fail", "not-applicable", "excepted"}

// String gives the verdict's word.
func (v Verdict) String() string {
	if int(v) >= len(verdicts) {
		return "unknown"
	}
	return verdicts[v]
}

// MarshalText gives the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's word.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, w := range verdicts {
		if w == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no verdict", text)
}

// Finding is one thing that a control found: which object, which field, what is
// there and what to do. A control that passes makes none.
type Finding struct {
	// Control is the id of the control, Title its one line.
	Control  string   `json:"control"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	// Verdict is fail, unknown or excepted.
	Verdict Verdict   `json:"verdict"`
	Object  ObjectRef `json:"object"`
	// Field is the path within the object, as "spec.containers[0].image"; ""
	// where the whole object is meant. A key that is no plain name is quoted:
	// metadata.labels["app.kubernetes.io/name"].
	Field string `json:"field,omitempty"`
	// Container names the container, where the finding is about one.
	Container string   `json:"container,omitempty"`
	Location  Location `json:"location,omitzero"`
	// Message says what is there. It never holds the value of a secret.
	Message string `json:"message"`
	// Remediation says what to do.
	Remediation string `json:"remediation,omitempty"`
	// Reason says why the verdict is unknown, or the reason of the exception.
	Reason string `json:"reason,omitempty"`
	// Related are other objects that the verdict rests on.
	Related []ObjectRef `json:"related,omitempty"`
	// Fix is what to change; empty where nothing is known that is safe.
	Fix []Edit `json:"fix,omitempty"`
	// Fingerprint stays the same when lines move, lists are reordered or the
	// wording changes.
	Fingerprint string `json:"fingerprint"`
	// Exception names the exception of an excepted finding.
	Exception string `json:"exception,omitempty"`
}

// Edit is one change of one field of an object.
type Edit struct {
	// Field is the path within the object, like Finding.Field; parents that are
	// missing are made.
	Field string `json:"field"`
	// Value is what to put there, as JSON values. It is ignored with Remove.
	Value any `json:"value,omitempty"`
	// Remove takes the field, or the element of a list, away.
	Remove bool `json:"remove,omitempty"`
}
