package log

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// Mixture says which files of a log are plain although others are encrypted.
type Mixture struct {
	// Plain files of Of that were looked at; First is the first of them.
	Plain, Of int
	First     string

	encrypted bool
}

func (m *Mixture) add(f *StoredFile) {
	m.Of++
	switch {
	case f.Encrypted:
		m.encrypted = true
	case f.Damage != nil: // who reads it is told
	default:
		if m.Plain++; m.Plain == 1 {
			m.First = f.Path
		}
	}
}

// Err is nil for a log that is all plain or all encrypted. Plain files are read like
// others, since trails may be mixed; so whoever can write the folder may have put them
// there without having a key.
func (m *Mixture) Err() error {
	if m.Plain == 0 || !m.encrypted {
		return nil
	}
	return fmt.Errorf("%d of %d files of events are not encrypted, and others are; the first: %s: they were written without a key "+
		`(then "bulwark audit key rotate" encrypts them), or somebody put them there ("bulwark audit verify" tells whether their events are those that were sealed)`,
		m.Plain, m.Of, m.First)
}

// Survey says which keys the log in dir needs that were not given, as MissingKeys does,
// and which of the files that it looked at are plain.
func Survey(dir string, keys vault.Keys) (Mixture, error) {
	var m Mixture
	files, err := storedFiles(dir, lookedAt)
	if err != nil {
		return m, err
	}
	told := map[vault.ID]bool{}
	var missing []error
	for i := range files {
		file := &files[i]
		m.add(file)
		if !file.Encrypted || keys.Has(file.Key) || told[file.Key] {
			continue
		}
		told[file.Key] = true
		missing = append(missing, &vault.MissingKeyError{Path: file.Path, ID: file.Key})
	}
	return m, errors.Join(missing...)
}

// plainUnsealed adds what is not sealed yet to the mixture. Open calls it before any of
// that can be sealed.
func (l *Log) plainUnsealed(m *Mixture) error {
	files, err := listActive(l.cfg.Dir)
	if err != nil {
		return err
	}
	var found []StoredFile
	for _, file := range files {
		if found, err = appendStored(found, file.path, false); err != nil {
			return err
		}
	}
	for i := range found {
		m.add(&found[i])
	}
	return nil
}

// lookForPlain looks at every segment that is there when the log is opened, and tells of
// plain ones beside encrypted ones. It reads their heads alone, beside all else: a log of
// years has very many.
func (l *Log) lookForPlain(ctx context.Context, m Mixture) {
	folder := filepath.Join(l.cfg.Dir, sealedName)
	segments, err := listSpans(folder, sealedSuffix)
	for _, s := range segments {
		if ctx.Err() != nil {
			return
		}
		var found []StoredFile
		if found, err = appendStored(nil, s.Path, true); err != nil {
			break
		}
		for i := range found {
			m.add(&found[i])
		}
	}
	if err == nil {
		err = m.Err()
	}
	if err != nil {
		l.trouble(TroublePlain, folder, err)
	}
}
