package log

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

// The summary is a file with a line for each sealed segment: when its events happened and
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
const (
	summaryName     = "summary"
	summaryNoteName = "summary.note"
	summaryAbout    = "summary"
	// maxSummary bounds what is read: lines of four million segments.
	maxSummary     = 512 << 20
	maxSummaryNote = 64 << 10
)

// Summary is what the log's writer saw of a segment when it sealed it. Retention may have
// taken events away since.
type Summary struct {
	First, Last uint64
	// Oldest and Newest are the ends of Event.Time, From and To those of Event.Received; all
	// are microseconds since 1970, both ends included.
	Oldest, Newest, From, To int64

	kinds uint16 // a bit for each of audit.Kinds
}

// Has reports whether the segment may have events of a kind.
func (s *Summary) Has(kind audit.Kind) bool {
	for i, k := range audit.Kinds() {
		if k == kind {
			return s.kinds>>i&1 == 1
		}
	}
	return true
}

// appendTo appends the summary's line.
func (s *Summary) appendTo(dst []byte) []byte {
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

// parseSummaries reads lines, which must be in the order of their events and written as
// appendTo does.
func parseSummaries(text []byte) ([]Summary, error) {
	var all []Summary
	var again []byte
	for line := range bytes.Lines(text) {
		s, err := parseSummary(string(line))
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

func parseSummary(line string) (s Summary, err error) {
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

// signer is a ledger that signs statements, as proof.Ledger does.
type signer interface {
	Sign(s proof.Statement) ([]byte, error)
	Verifier() string
}

// digester is a hash that is asked in between.
type digester interface {
	io.Writer
	Sum(b []byte) []byte
}

// summary is the file as the writer has it. It belongs to the goroutine that seals.
type summary struct {
	dir  string
	by   signer
	open bool // size, sum and last are those of the file
	size int64
	sum  digester
	last uint64 // the last event of the last line
}

// add adds a line and signs the file with it. A segment that has a line, or comes before
// one that has, gets none: it was added before a crash.
func (m *summary) add(s *Summary) error {
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
	f, err := os.OpenFile(filepath.Join(m.dir, summaryName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
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
	raw, err := m.by.Sign(proof.Statement{About: summaryAbout, Size: m.size, Sum: proof.Hash(m.sum.Sum(nil))})
	if err != nil {
		return err
	}
	if err := proof.WriteFile(filepath.Join(m.dir, summaryNoteName), raw, fileMode); err != nil {
		return err
	}
	m.last, m.open = s.Last, true
	return nil
}

// load takes up the file where its signature ends, and begins anew where there is none
// that fits.
func (m *summary) load() error {
	m.size, m.last, m.sum = 0, 0, sha256.New()
	key, err := proof.ParseVerifier(m.by.Verifier())
	if err != nil {
		return err
	}
	text, err := readSummary(m.dir, key)
	if err == nil {
		var all []Summary
		if all, err = parseSummaries(text); err == nil && len(all) > 0 {
			m.size, m.last = int64(len(text)), all[len(all)-1].Last
			_, _ = m.sum.Write(text)
		}
	}
	if where, failed := errors.AsType[*fs.PathError](err); failed && !errors.Is(err, fs.ErrNotExist) {
		return where // it may be there another time
	}
	// What is not signed, or not in order, is no loss but of time.
	if err := os.Truncate(filepath.Join(m.dir, summaryName), m.size); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.open = true
	return nil
}

// readSummary gives the part of the summary in dir that is signed.
func readSummary(dir string, key note.Verifier) ([]byte, error) {
	raw, err := readUpTo(filepath.Join(dir, summaryNoteName), maxSummaryNote)
	if err != nil {
		return nil, err
	}
	said, err := proof.ParseStatement(raw, summaryAbout, key)
	if err != nil {
		return nil, err
	}
	if said.Size > maxSummary {
		return nil, fmt.Errorf("the summary has %d bytes, more than the %d that are read", said.Size, maxSummary)
	}
	text, err := readUpTo(filepath.Join(dir, summaryName), said.Size)
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

// Summaries gives what is known of sealed segments without opening them, in the order
// of their events. Not every segment has one; without a summary whose signature fits the
// trail's ledger and key there are none, and the error says why.
func (v *View) Summaries() ([]Summary, error) {
	data := filepath.Dir(v.dir)
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
	lines, err := readSummary(v.dir, key)
	if err != nil {
		return nil, fmt.Errorf("read the log's summary: %w", err)
	}
	return parseSummaries(lines)
}

// summarize adds a sealed segment to the summary. That it cannot be is no reason not to
// go on: searches then open the segment.
func (l *Log) summarize(p pending, s *loaded) {
	by, ok := l.cfg.Ledger.(signer)
	if !ok {
		return
	}
	if l.summary.by == nil {
		l.summary = summary{dir: l.cfg.Dir, by: by}
	}
	said := s.segment.Meta()
	line := Summary{
		First: p.first, Last: p.last, Oldest: said.From.UnixMicro(), Newest: said.To.UnixMicro(),
		From: s.from.UnixMicro(), To: s.to.UnixMicro(),
	}
	for i, k := range audit.Kinds() {
		if said.Kinds[k] > 0 {
			line.kinds |= 1 << i
		}
	}
	if err := l.summary.add(&line); err != nil {
		l.trouble(TroubleSummary, filepath.Join(l.cfg.Dir, summaryName), err)
	}
}
