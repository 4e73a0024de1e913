package log

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// SealedFile is a segment's file that was opened: its Parquet, decrypted where the file
// is encrypted.
type SealedFile struct {
	io.ReaderAt
	// Size is the length of the Parquet.
	Size int64
	// Encrypted says that the file is.
	Encrypted bool

	file *os.File
}

// Close closes the file.
func (f *SealedFile) Close() error { return f.file.Close() }

// OpenSealed opens a segment's file. An encrypted one must say of itself that it has the
// events that its name says; of one that is not, its Parquet says it.
func OpenSealed(s SegmentFile, keys vault.Keys) (*SealedFile, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, err
	}
	opened, err := openSealedFile(f, s, keys)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened, nil
}

func openSealedFile(f *os.File, s SegmentFile, keys vault.Keys) (*SealedFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	begin := make([]byte, vault.HeadSize)
	n, err := f.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", s.Path, err)
	}
	if !vault.IsFile(begin[:n]) {
		return &SealedFile{ReaderAt: f, Size: info.Size(), file: f}, nil
	}
	r, err := vault.Open(f, info.Size(), s.Path, keys, s.label())
	if err != nil {
		return nil, err
	}
	return &SealedFile{ReaderAt: r, Size: r.Size(), Encrypted: true, file: f}, nil
}

func (s SegmentFile) label() vault.Label {
	return vault.Label{Role: vault.RoleSegment, First: s.First, Last: s.Last}
}

// OpenSegment opens the file of a sealed segment with the keys of the view.
func (v *View) OpenSegment(s SegmentFile) (*SealedFile, error) { return OpenSealed(s, v.opts.Keys) }

// WriteSealed writes a segment's file, with what write gives it as its Parquet: encrypted
// with the first key, if there is one.
func WriteSealed(to io.Writer, s SegmentFile, keys vault.Keys, random io.Reader, write func(w io.Writer) error) error {
	if keys.Empty() {
		return write(to)
	}
	w, err := vault.NewWriter(to, keys, random, s.label())
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		return err
	}
	return w.Close()
}

// compareSealed reads a segment back from the disk: its Parquet must have just those
// bytes. segment.Write saw that what it made gives every event again. After this the
// write-ahead file, or the file that it takes the place of, is not needed any more.
func compareSealed(s SegmentFile, keys vault.Keys, written []byte) error {
	f, err := OpenSealed(s, keys)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if f.Encrypted == keys.Empty() {
		return fmt.Errorf("%s: the disk does not give back what was written", s.Path)
	}
	digest, err := f.digest()
	if err != nil {
		return fmt.Errorf("read %s back: %w", s.Path, err)
	}
	if !bytes.Equal(digest, written) {
		return fmt.Errorf("%s: the disk does not give back what was written", s.Path)
	}
	return nil
}

// digest is the hash of the Parquet.
func (f *SealedFile) digest() ([]byte, error) {
	digest := sha256.New()
	if _, err := io.Copy(digest, io.NewSectionReader(f, 0, f.Size)); err != nil {
		return nil, err
	}
	return digest.Sum(nil), nil
}
