// Package verify says whether an audit trail is what was written, offline: from its
// data directory or a copy of it, the log's public key, and, if there is one, a
// checkpoint that was kept elsewhere. It trusts nothing in the directory but what the
// key signed.
//
// It goes from the signature inwards: checkpoint, ledger, records, segments, events,
// and then on to what is not sealed yet. Each step that does not fit is a finding that
// names the place; the steps after it go on as far as they can.
//
// What it cannot see: events that never came in; the end of what is not sealed yet,
// cut off at a whole record; and, without a kept checkpoint or a witness, a directory
// that was put back whole to an older state, or written anew by somebody with the key.
package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// Options say what to verify, and with what.
type Options struct {
	// Dir is the data directory, or a copy of it.
	Dir string
	// Key is the text of the log's public key, from a file that was kept elsewhere.
	Key string
	// Kept are older checkpoints of this log that were kept elsewhere.
	Kept [][]byte
	// Witnesses are the verifier keys of witnesses that must have signed.
	Witnesses []string
	// Openings, if set, gives the openings of events' commitments to be compared; those of
	// an event come once. It is asked for the segments' events and for those not sealed yet.
	Openings func(ctx context.Context, first, last uint64, fn func(seq uint64, openings []audit.Opening) error) error
	// Keys decrypt an encrypted trail. Where none of those that are given is one that it
	// needs, Verify cannot look; a file that needs another one is a finding.
	Keys vault.Keys
	// Workers is how many segments are read at once; 0 is as many as there are processors.
	Workers int
}

// verifier carries a verification.
type verifier struct {
	options Options
	key     note.Verifier

	// whole says that the ledger has as many records as its checkpoint says.
	whole bool

	mu     sync.Mutex
	report Report
	// gone are the events that were taken away; told is what sealed events say of that, and
	// unsigned what others do.
	gone           numbers.Set
	told, unsigned saying
	// sealed is the last event that is sealed, as far as it is known.
	sealed uint64
}

// Verify reads all of the log. Its error says that it could not look; what it saw is in
// the report.
func Verify(ctx context.Context, options Options) (Report, error) {
	if options.Dir == "" || options.Key == "" {
		return Report{}, errors.New("verify: a data directory and the log's public key are required")
	}
	info, err := os.Stat(options.Dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if !info.IsDir() {
		return Report{}, fmt.Errorf("verify: %s is no directory", options.Dir)
	}
	key, err := proof.ParseVerifier(options.Key)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if options.Workers <= 0 {
		options.Workers = runtime.GOMAXPROCS(0)
	}
	if err := someKey(options); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", options.Dir, err)
	}
	v := &verifier{options: options, key: key}
	v.report.Findings, v.report.Notes = []Finding{}, []Finding{}
	if err := v.run(ctx); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", options.Dir, err)
	}
	v.report.sort()
	return v.report, nil
}

func (v *verifier) run(ctx context.Context) error {
	v.compareKeys()
	records, err := v.ledger(ctx)
	if err != nil {
		return err
	}
	files, err := v.listSealed()
	if err != nil {
		return err
	}
	jobs := v.match(records, files)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(v.options.Workers)
	for _, job := range jobs {
		group.Go(func() error { return v.segment(inner, job) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	v.relate(records, jobs)
	if err := v.active(ctx, records, jobs); err != nil {
		return err
	}
	return v.tellPruned(ctx, jobs)
}

// someKey is an error if the trail has encrypted files, and none of the keys that were
// given is one of theirs: then nothing can be said, and somebody forgot to give a key.
func someKey(options Options) error {
	dir := filepath.Join(options.Dir, "log")
	missing := log.MissingKeys(dir, options.Keys)
	if !errors.Is(missing, vault.ErrNoKey) {
		return missing
	}
	files, err := log.StoredFiles(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Encrypted && options.Keys.Has(file.Key) {
			return nil // whose head names a key that never was is told by file
		}
	}
	return missing
}

// find adds a finding.
func (v *verifier) find(kind Kind, at Place, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, Finding{kind, at, fmt.Sprintf(format, args...)})
}

// note adds what is worth knowing.
func (v *verifier) note(kind Kind, at Place, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Notes = append(v.report.Notes, Finding{kind, at, fmt.Sprintf(format, args...)})
}

// name is a path as findings tell it.
func (v *verifier) name(path string) string {
	if rel, err := filepath.Rel(v.options.Dir, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

// compareKeys looks whether the key beside the log is the one that was given. It does
// not matter for the proof, but somebody may have given it to others.
func (v *verifier) compareKeys() {
	path := proof.VerifierPath(v.options.Dir)
	at := Place{File: v.name(path)}
	text, err := os.ReadFile(path) //nolint:gosec // in the directory to verify
	if errors.Is(err, os.ErrNotExist) {
		v.note(KindKey, at, "is not there; the key that was given is used")
		return
	}
	if err != nil {
		v.find(KindKey, at, "cannot be read: %v", err)
		return
	}
	beside, err := proof.ParseVerifier(string(text))
	switch {
	case err != nil:
		v.find(KindKey, at, "is no public key of a log")
	case beside.Name() != v.key.Name():
		v.find(KindKey, at, "is the key of log %q, and the key that was given is of log %q", beside.Name(), v.key.Name())
	case beside.KeyHash() != v.key.KeyHash():
		v.find(KindKey, at, "is key %08x, and not the one that was given, %08x: it was exchanged", beside.KeyHash(), v.key.KeyHash())
	case strings.TrimSpace(string(text)) != strings.TrimSpace(v.options.Key):
		v.find(KindKey, at, "is not written as the key that was given, although it is the same: it was edited")
	}
}
