package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// commitments are those of a run of events, by event; nil when nobody asks.
type commitments map[uint64][]audit.Redaction

func newCommitments(wanted bool) commitments {
	if !wanted {
		return nil
	}
	return commitments{}
}

func (c commitments) add(e *audit.Event) {
	if c != nil && len(e.Redactions) > 0 {
		c[e.Seq] = e.Redactions
	}
}

// openings compares the openings of events with their commitments. An opening that is
// not there is none to wonder about: they may be destroyed. One that cannot be read is,
// also where no event committed to anything.
func (v *verifier) openings(ctx context.Context, c commitments, first, last uint64) error {
	if c == nil || first > last {
		return nil
	}
	for _, seq := range slices.Sorted(maps.Keys(c)) {
		for _, r := range c[seq] {
			if !isCommitment(r.Commitment) {
				v.find(KindOpening, Place{First: seq}, "the commitment for %.100q is none: whatever opens it cannot be told from anything else", r.Path)
			}
		}
	}
	compared := 0
	err := v.options.Openings(ctx, first, last, func(seq uint64, openings []audit.Opening) error {
		for _, o := range openings {
			compared++
			v.opening(c[seq], seq, o)
		}
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.find(KindOpening, Place{First: first, Last: last}, "the openings cannot be read: %v", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Openings += compared
	return nil
}

// opening compares one opening with the commitment at its path.
func (v *verifier) opening(redactions []audit.Redaction, seq uint64, o audit.Opening) {
	if o.Value == nil { // only the salt is kept
		if !slices.ContainsFunc(redactions, func(r audit.Redaction) bool { return r.Path == o.Path }) {
			v.find(KindOpening, Place{First: seq}, "there is a salt for %.100q, and the event committed to nothing there", o.Path)
		}
		return
	}
	sum := sha256.Sum256(append(o.Salt[:], o.Value...))
	is := "sha256:" + hex.EncodeToString(sum[:])
	known := false
	for _, r := range redactions {
		if r.Path != o.Path {
			continue
		}
		if r.Commitment == is {
			return
		}
		known = true
	}
	if known {
		v.find(KindOpening, Place{First: seq}, "what opens %.100q is not what the event committed to", o.Path)
		return
	}
	v.find(KindOpening, Place{First: seq}, "there is an opening for %.100q, and the event committed to nothing there", o.Path)
}

// isCommitment reports whether a text has the form of one.
func isCommitment(text string) bool {
	sum, ok := strings.CutPrefix(text, "sha256:")
	raw, err := hex.DecodeString(sum)
	return ok && err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == sum
}
