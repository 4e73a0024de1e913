// Package baseline remembers the findings of an earlier scan, so that a later one
// can tell what is new. It holds fingerprints, which stay the same when lines move
// or lists are reordered.
package baseline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
)

// Version is the form of the file.
const Version = "bulwark.dev/baseline/v1"

// maxText bounds the file: a million findings.
const maxText = 512 << 20

// Baseline is the findings of one scan. The zero Baseline knows none.
type Baseline struct {
	Version  string  `json:"version"`
	Findings []Entry `json:"findings"`
}

// Entry is one finding. Only Fingerprint, Severity and Verdict decide; the rest is
// for people who read the difference.
type Entry struct {
	Fingerprint string            `json:"fingerprint"`
	Severity    bulwark.Severity  `json:"severity"`
	Verdict     bulwark.Verdict   `json:"verdict"`
	Control     string            `json:"control"`
	Object      bulwark.ObjectRef `json:"object"`
}

// Make gives the baseline of a report. What is excepted is left out, so that it
// shows as new when the exception ends.
func Make(rep *posture.Report) *Baseline {
	b := &Baseline{Version: Version, Findings: []Entry{}}
	for i := range rep.Findings {
		if f := &rep.Findings[i]; f.Verdict != bulwark.VerdictExcepted {
			b.Findings = append(b.Findings, Entry{f.Fingerprint, f.Severity, f.Verdict, f.Control, f.Object})
		}
	}
	slices.SortFunc(b.Findings, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Control, y.Control), cmp.Compare(x.Object.String(), y.Object.String()),
			cmp.Compare(x.Fingerprint, y.Fingerprint), cmp.Compare(x.Verdict, y.Verdict), cmp.Compare(x.Severity, y.Severity))
	})
	b.Findings = slices.Compact(b.Findings)
	return b
}

// Write writes it, one finding on each line, so that a difference is readable.
func (b *Baseline) Write(w io.Writer) error {
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "{\"version\": %q, \"findings\": [", b.Version)
	for i := range b.Findings {
		line, err := json.Marshal(&b.Findings[i])
		if err != nil {
			return fmt.Errorf("write the baseline: %w", err)
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n" + string(line))
	}
	out.WriteString("\n]}\n")
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("write the baseline: %w", err)
	}
	return nil
}

// Read reads what Write wrote.
func Read(r io.Reader) (*Baseline, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxText))
	dec.DisallowUnknownFields()
	b := &Baseline{}
	if err := dec.Decode(b); err != nil {
		return nil, fmt.Errorf("not a baseline: %w", err)
	}
	if b.Version != Version {
		return nil, fmt.Errorf("not a baseline of this version of Bulwark: it says %q, expected %q", b.Version, Version)
	}
	for i := range b.Findings {
		e := &b.Findings[i]
		if e.Fingerprint == "" || e.Severity == 0 {
			return nil, fmt.Errorf("finding %d has no fingerprint or no severity", i+1)
		}
		if e.Verdict != bulwark.VerdictFail && e.Verdict != bulwark.VerdictUnknown {
			return nil, fmt.Errorf("finding %d is %s: only what fails or is unknown is written down", i+1, e.Verdict)
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a baseline: more text follows")
	}
	return b, nil
}

// Split parts findings into those that are new and those that the baseline knows.
// One that has become worse, or that could not be judged then and fails now, is
// new. fixed is how many of the baseline are gone; those of controls that did not
// run, or of kinds that could not be read, are not counted.
func (b *Baseline) Split(rep *posture.Report) (fresh, known []bulwark.Finding, fixed int) {
	before := map[string]Entry{}
	for _, e := range b.Findings {
		// Of two of one fingerprint, as a merge may leave them, the milder counts.
		if have, ok := before[e.Fingerprint]; !ok || worse(have.Severity, have.Verdict, e) {
			before[e.Fingerprint] = e
		}
	}
	seen := make(map[string]bool, len(rep.Findings))
	for i := range rep.Findings {
		f := rep.Findings[i]
		seen[f.Fingerprint] = true
		if have, ok := before[f.Fingerprint]; !ok || f.Verdict != bulwark.VerdictExcepted && worse(f.Severity, f.Verdict, have) {
			fresh = append(fresh, f)
			continue
		}
		known = append(known, f)
	}
	ran := map[string]bool{}
	for i := range rep.Tallies {
		ran[rep.Tallies[i].ID] = true
	}
	for fp, e := range before {
		if !seen[fp] && ran[e.Control] && !unread(rep, e.Object) {
			fixed++
		}
	}
	return fresh, known, fixed
}

// unread reports whether an object may only seem to be gone.
func unread(rep *posture.Report, o bulwark.ObjectRef) bool {
	return slices.ContainsFunc(rep.Unreadable, func(u inventory.Unreadable) bool {
		return u.Group == o.Group() && (u.Kind == "" || u.Kind == o.Kind) && (u.Namespace == "" || u.Namespace == o.Namespace)
	})
}

func worse(s bulwark.Severity, v bulwark.Verdict, than Entry) bool {
	if s > than.Severity {
		return true
	}
	return v == bulwark.VerdictFail && than.Verdict == bulwark.VerdictUnknown
}
