package log

import (
	"bufio"
	"cmp"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
)

// ErrShredded says that the key of openings was destroyed.
var ErrShredded = errors.New("the openings' key was destroyed")

// An openings file is a head (magic 8 · first 8 · last 8 · wrapped key 60) and then
// items, in the order of their events: event 8 · length 4 · ciphertext. The last item
// is for event 0 and is empty, so that a file that was cut short is not taken for a
// whole one. What encrypts an item also binds its place and its event.
const (
	openingsMagic = "BWKOPEN\x01"
	openingsKeyAt = 8 + 8 + 8
	openingsHead  = openingsKeyAt + keyBoxSize
	itemHead      = 8 + 4
	// maxItem bounds what is allocated for an item.
	maxItem = maxEvent + nonceSize + tagSize
)

// opened are the openings of one event.
type opened struct {
	seq   uint64
	plain []byte // as appendOpenings encodes them
}

func itemContext(index int, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(index)), seq) //nolint:gosec // an index
}

// writeOpenings writes the openings file of a segment under a key of its own. A segment
// without openings has no file.
func writeOpenings(folder string, first, last uint64, items []opened, by cipher.AEAD, random io.Reader) error {
	path := filepath.Join(folder, spanName(first, last, openingsSuffix))
	if len(items) == 0 {
		return disk.Remove(path)
	}
	return writeOpeningsAt(path, first, last, items, by, random)
}

func writeOpeningsAt(path string, first, last uint64, items []opened, by cipher.AEAD, random io.Reader) error {
	top := make([]byte, openingsHead)
	copy(top, openingsMagic)
	binary.BigEndian.PutUint64(top[8:], first)
	binary.BigEndian.PutUint64(top[16:], last)
	key, box, err := newKey(by, random, top[:openingsKeyAt])
	if err != nil {
		return err
	}
	copy(top[openingsKeyAt:], box[:])
	err = writeFile(path, func(w io.Writer) error {
		if _, err := w.Write(top); err != nil {
			return err
		}
		var b []byte
		for i, item := range append(slices.Clip(items), opened{}) {
			b = append(b[:0], make([]byte, itemHead)...)
			if b, err = appendSealed(b, key, random, item.plain, itemContext(i, item.seq)); err != nil {
				return err
			}
			binary.BigEndian.PutUint64(b, item.seq)
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-itemHead)) //nolint:gosec // at most maxItem
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write openings of events %d to %d: %w", first, last, err)
	}
	return nil
}

// writeFile writes a file whole, or not at all, and durably.
func writeFile(path string, write func(w io.Writer) error) error {
	temporary := path + temporarySuffix
	if err := disk.WriteSynced(temporary, write); err != nil {
		return err
	}
	return disk.Publish(temporary, path)
}

// readOpenings calls fn with the openings of each event of a file.
func readOpenings(path string, by cipher.AEAD, fn func(o opened) error) error {
	f, err := os.Open(path) //nolint:gosec // a name that this package made
	if err != nil {
		return fmt.Errorf("read openings: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if err := parseOpeningsFile(bufio.NewReaderSize(f, 1<<18), by, fn); err != nil {
		return fmt.Errorf("read openings %s: %w", path, err)
	}
	return nil
}

func parseOpeningsFile(src io.Reader, by cipher.AEAD, fn func(o opened) error) error {
	top := make([]byte, openingsHead)
	if _, err := io.ReadFull(src, top); err != nil {
		return fmt.Errorf("its head: %w", err)
	}
	if string(top[:len(openingsMagic)]) != openingsMagic {
		return errors.New("it does not begin as an openings file")
	}
	key, err := unwrap(by, (*[keyBoxSize]byte)(top[openingsKeyAt:]), top[:openingsKeyAt])
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		var b [itemHead]byte
		if _, err := io.ReadFull(src, b[:]); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		seq, length := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:])
		if length > maxItem {
			return fmt.Errorf("item %d: %d bytes are more than openings have", i, length)
		}
		sealed := make([]byte, length)
		if _, err := io.ReadFull(src, sealed); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		plain, err := openSealed(key, sealed, itemContext(i, seq))
		if err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		if seq == 0 {
			return nil
		}
		if err := fn(opened{seq: seq, plain: plain}); err != nil {
			return err
		}
	}
}

// shredFile destroys the key of an openings file and then the file. The key is
// overwritten where it lies; a file system that copies on write, or a snapshot, may
// keep it, and then only a change of the key that wraps it is the end of it.
func shredFile(path string) error {
	if err := destroyKey(path, openingsKeyAt, keyBoxSize); err != nil {
		return err
	}
	return disk.Remove(path)
}

// destroyKey overwrites a wrapped key with zeros.
func destroyKey(path string, at int64, size int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, fileMode) //nolint:gosec // a name that this package made
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, size), at)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("destroy the key in %s: %w", path, err)
	}
	return nil
}

// Openings gives the openings of an event's commitments. There are none when the event
// had none, or when they were destroyed.
func (v *View) Openings(key bulwark.Secret, seq uint64) ([]audit.Opening, error) {
	by, err := master(key)
	if err != nil {
		return nil, err
	}
	files, err := listSpans(filepath.Join(v.dir, openingsName), openingsSuffix)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if seq < file.First || seq > file.Last {
			continue
		}
		var found []audit.Opening
		err := readOpenings(file.Path, by, func(o opened) error {
			if o.seq != seq {
				return nil
			}
			found, err = parseOpenings(o.plain)
			return err
		})
		return found, err
	}
	return v.activeOpenings(by, seq)
}

// activeOpenings looks in the write-ahead files.
func (v *View) activeOpenings(by cipher.AEAD, seq uint64) ([]audit.Opening, error) {
	files, err := listActive(v.dir)
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(files, seq, func(a active, seq uint64) int { return cmp.Compare(a.first, seq) })
	if !found {
		i--
	}
	if i < 0 {
		return nil, nil
	}
	f, err := os.Open(files[i].path)
	if err != nil {
		return nil, fmt.Errorf("read openings: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read openings: %w", err)
	}
	r, err := openReader(f, info.Size(), files[i].path, files[i].first, v.opts.Keys)
	if err != nil {
		return nil, err
	}
	return findOpenings(r, by, seq)
}

func findOpenings(r *reader, by cipher.AEAD, seq uint64) ([]audit.Opening, error) {
	for {
		f, err := r.frame()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if seq < f.first || seq >= r.next {
			continue
		}
		rec := f.records[seq-f.first]
		if len(rec.openings) == 0 {
			return nil, nil
		}
		key, err := unwrap(by, &r.head.keyBox, r.head.id[:])
		if err != nil {
			return nil, err
		}
		plain, err := openSealed(key, rec.openings, rec.leaf[:])
		if err != nil {
			return nil, err
		}
		return parseOpenings(plain)
	}
}
