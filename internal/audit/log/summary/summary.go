// Package summary keeps a file with a line for each sealed segment: when its events happened and
// were received, and of which kinds they are. A search of one hour of a year then opens
// sixty files and not half a million.
//
// It must not become a place to hide events in: whoever may write the folder could
// otherwise make the line of a segment say that nothing of today is in it. The ledger's
// records are signed, but they have the times of receipt alone, and what a search asks for
// is when a thing happened as its source tells it, which may be years before (an import)
// or an hour after (a clock that is ahead). So the writer, which has seen every event of
// a segment when it seals it, signs the file's length and hash with the log's key, and a
// reader takes lines only out of what that signature covers. It believes the public key
// only if the same key signed the ledger's checkpoint: who puts another key there to forge
// a summary is seen by a verification with a key that was kept.
//
// What is not covered, or does not fit, is not there: its segments are opened, as all
// were before there was a summary. An older summary of the same log, put back, lacks
// lines and has no wrong ones: a number is never sealed twice, and retention only takes
// away.
package summary

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
)

const (
	// Name is the file in the log's folder, beside which its signature lies.
	Name = "summary"

	noteName             = "summary.note"
	about                = "summary"
	mode     fs.FileMode = 0o600

	// maxSize bounds what is read: lines of four million segments.
	maxSize = 512 << 20
	maxNote = 64 << 10
)

// Segment is what the log's writer saw of a segment when it sealed it. Retention may have
// taken events away since.
type Segment struct {
	First, Last uint64
	// Oldest and Newest are the ends of Event.Time, From and To those of Event.Received; all
	// are microseconds since 1970, both ends included.
	Oldest, Newest, From, To int64

	kinds uint16 // a bit for each of audit.Kinds
}

// Has reports whether the segment may have events of a kind.
func (s *Segment) Has(kind audit.Kind) bool {
	for i, k := range audit.Kinds() {
		if k == kind {
			return s.kinds>>i&1 == 1
		}
	}
	return true
}

// Add says that the segment has events of a kind.
func (s *Segment) Add(kind audit.Kind) {
	if i := slices.Index(audit.Kinds(), kind); i >= 0 {
		s.kinds |= 1 << i
	}
}

// appendTo appends the summary's line.
func (s *Segment) appendTo(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, s.First, 10), ' ')
	dst = append(strconv.AppendUint(dst, s.Last, 10), ' ')
	for _, at := range [...]int64{s.Oldest, s.Newest, s.From, s.To} {
		dst = append(strconv.AppendInt(dst, at, 10), ' ')
	}
	end := len(dst)
	for i, k := range audit.Kinds() {
		if s.kinds>>i&1 == 0 {
			continue
		}
		if len(dst) > end {
			dst = append(dst, ',')
		}
		dst = append(dst, k...)
	}
	return append(dst, '\n')
}

// parse reads lines, which must be in the order of their events and written as
// appendTo does.
func parse(text []byte) ([]Segment, error) {
	var all []Segment
	var again []byte
	for line := range bytes.Lines(text) {
		s, err := parseLine(string(line))
		if err == nil {
			again = s.appendTo(again[:0])
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d of the summary: %w", len(all)+1, err)
		case !bytes.Equal(again, line):
			return nil, fmt.Errorf("line %d of the summary is not as it is written: %.200q", len(all)+1, line)
		case len(all) > 0 && s.First <= all[len(all)-1].Last:
			return nil, fmt.Errorf("line %d of the summary is of event %d, and the one before ends with %d", len(all)+1, s.First, all[len(all)-1].Last)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseLine(line string) (s Segment, err error) {
	rest := strings.TrimSuffix(line, "\n")
	word := func() (word string) {
		word, rest, _ = strings.Cut(rest, " ")
		return word
	}
	for _, into := range [...]*uint64{&s.First, &s.Last} {
		if *into, err = strconv.ParseUint(word(), 10, 64); err != nil {
			return s, err
		}
	}
	for _, into := range [...]*int64{&s.Oldest, &s.Newest, &s.From, &s.To} {
		if *into, err = strconv.ParseInt(word(), 10, 64); err != nil {
			return s, err
		}
	}
	kinds := audit.Kinds()
	for name := range strings.SplitSeq(rest, ",") {
		i := slices.Index(kinds, audit.Kind(name))
		if i < 0 {
			return s, fmt.Errorf("%.40q is no kind of event", name)
		}
		s.kinds |= 1 << i
	}
	if s.First == 0 || s.Last < s.First || s.Newest < s.Oldest || s.To < s.From {
		return s, errors.New("its numbers or times are the wrong way round")
	}
	return s, nil
}

// Signer is a ledger that signs statements, as proof.Ledger does.
type Signer interface {
	Sign(s proof.Statement) ([]byte, error)
	Verifier() string
}

// digester is a hash that is asked in between.
type digester interface {
	io.Writer
	Sum(b []byte) []byte
}

// Writer is the file as the log's writer has it. One goroutine at a time may use it.
type Writer struct {
	dir  string
	by   Signer
	open bool // size, sum and last are those of the file
	size int64
	sum  digester
	last uint64 // the last event of the last line
}

// NewWriter makes the writer of the summary in the log's folder.
func NewWriter(dir string, by Signer) *Writer { return &Writer{dir: dir, by: by} }

// Add adds a line and signs the file with it. A segment that has a line, or comes before
// one that has, gets none: it was added before a crash.
func (m *Writer) Add(s *Segment) error {
	if !m.open {
		if err := m.load(); err != nil {
			return err
		}
	}
	if s.First <= m.last {
		return nil
	}
	m.open = false // until all of it went well
	line := s.appendTo(nil)
	f, err := os.OpenFile(filepath.Join(m.dir, Name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	m.size += int64(len(line))
	_, _ = m.sum.Write(line) // a hash takes everything
	raw, err := m.by.Sign(proof.Statement{About: about, Size: m.size, Sum: proof.Hash(m.sum.Sum(nil))})
	if err != nil {
		return err
	}
	if err := proof.WriteFile(filepath.Join(m.dir, noteName), raw, mode); err != nil {
		return err
	}
	m.last, m.open = s.Last, true
	return nil
}

// load takes up the file where its signature ends, and begins anew where there is none
// that fits.
func (m *Writer) load() error {
	m.size, m.last, m.sum = 0, 0, sha256.New()
	key, err := proof.ParseVerifier(m.by.Verifier())
	if err != nil {
		return err
	}
	text, err := readLines(m.dir, key)
	if err == nil {
		var all []Segment
		if all, err = parse(text); err == nil && len(all) > 0 {
			m.size, m.last = int64(len(text)), all[len(all)-1].Last
			_, _ = m.sum.Write(text)
		}
	}
	if where, failed := errors.AsType[*fs.PathError](err); failed && !errors.Is(err, fs.ErrNotExist) {
		return where // it may be there another time
	}
	// What is not signed, or not in order, is no loss but of time.
	if err := os.Truncate(filepath.Join(m.dir, Name), m.size); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.open = true
	return nil
}

// readLines gives the part of the summary in dir that is signed.
func readLines(dir string, key note.Verifier) ([]byte, error) {
	raw, err := readUpTo(filepath.Join(dir, noteName), maxNote)
	if err != nil {
		return nil, err
	}
	said, err := proof.ParseStatement(raw, about, key)
	if err != nil {
		return nil, err
	}
	if said.Size > maxSize {
		return nil, fmt.Errorf("the summary has %d bytes, more than the %d that are read", said.Size, maxSize)
	}
	text, err := readUpTo(filepath.Join(dir, Name), said.Size)
	if err != nil {
		return nil, err
	}
	if int64(len(text)) != said.Size || sha256.Sum256(text) != said.Sum {
		return nil, errors.New("the summary is not the one that was signed")
	}
	return text, nil
}

// readUpTo reads the first bytes of a file.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // a file of the log's directory
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(info.Size(), most))
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// Read gives what is known of the sealed segments of the log in dir, whose ledger lies
// beside it, in the order of their events. Not every segment is among them.
func Read(dir string) ([]Segment, error) {
	data := filepath.Dir(dir)
	text, err := os.ReadFile(proof.VerifierPath(data))
	if err != nil {
		return nil, fmt.Errorf("read the log's summary: %w", err)
	}
	key, err := proof.ParseVerifier(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the log's summary: %w", err)
	}
	raw, err := proof.NewFiles(os.DirFS(proof.LedgerPath(data))).Checkpoint()
	if err != nil {
		return nil, fmt.Errorf("read the log's summary: %w", err)
	}
	if _, err := proof.ParseCheckpoint(raw, key); err != nil {
		return nil, fmt.Errorf("read the log's summary: the key is not the ledger's: %w", err)
	}
	lines, err := readLines(dir, key)
	if err != nil {
		return nil, fmt.Errorf("read the log's summary: %w", err)
	}
	return parse(lines)
}
