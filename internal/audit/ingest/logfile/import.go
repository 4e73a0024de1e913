// Package logfile reads audit events from files: Tail follows one that is being written,
// Import takes what is past.
package logfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// ImportConfig is how past events are read.
type ImportConfig struct {
	// Sink gets the events, Decode reads them; Source names the feed in what Import
	// itself has to say. All are required, and so is the clock.
	Sink   ingest.Sink
	Decode ingest.Decode
	Source string
	Now    func() time.Time
	// Batch is how many events go to the sink at once. Default: 512.
	Batch int
	// MaxLine is the most bytes of one line, or of one event in a larger document.
	// Default: 16 MiB.
	MaxLine int
	// Progress is called after each batch. It may be nil.
	Progress func(Counts)
}

// Counts say what became of an input.
type Counts struct {
	// Bytes were read, before decompression.
	Bytes int64
	// Lines had something in them; where one document has many events, its parts count.
	Lines int64
	// Events are in the log, numbered from First to Last where nobody else wrote.
	// Unreadable of them stand for input that could not be understood, and Long of those
	// for what was too long.
	Events, Unreadable, Long int64
	First, Last              uint64
	// Truncated says where the input ends in the middle of something; "" where it ends
	// well.
	Truncated string
}

// Import reads events until the input ends: JSON lines, or whole documents such as an
// EventList or a list, which may be larger than memory; also compressed with gzip or
// zstd. What cannot be read becomes an event that says so, under the name that the
// input is given. When Import returns, also with an error, Counts.Events are on disk.
func Import(ctx context.Context, cfg ImportConfig, input io.Reader, name string) (Counts, error) {
	if cfg.Sink == nil || cfg.Decode == nil || cfg.Source == "" || cfg.Now == nil {
		return Counts{}, errors.New("import audit events: a sink, a decoder, a source and a clock are required")
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 512
	}
	if cfg.MaxLine <= 0 {
		cfg.MaxLine = 16 << 20
	}
	in := &counted{r: input}
	i := importer{cfg: cfg, name: name, in: in}
	i.out = batch{sink: cfg.Sink, most: cfg.Batch, after: i.flushed}
	err := i.run(ctx)
	if err == nil {
		err = i.out.flush(ctx)
	}
	i.counts.Bytes = in.n
	if err != nil {
		return i.counts, fmt.Errorf("import audit events from %s: %w", name, err)
	}
	return i.counts, nil
}

type importer struct {
	cfg    ImportConfig
	name   string
	in     *counted
	out    batch
	counts Counts
}

// flushed counts a batch that the sink has.
func (i *importer) flushed(entries []audit.Entry, first uint64) {
	c := &i.counts
	if c.First == 0 {
		c.First = first
	}
	c.Last = first + uint64(len(entries)) - 1
	c.Events += int64(len(entries))
	for _, e := range entries {
		if e.Event.Kind == audit.KindSystem && e.Event.Status.Reason == "Unreadable" {
			c.Unreadable++
		}
	}
	if c.Bytes = i.in.n; i.cfg.Progress != nil {
		i.cfg.Progress(*c)
	}
}

func (i *importer) run(ctx context.Context) error {
	plain, done, err := decompress(i.in)
	if err != nil {
		return i.broken(ctx, 0, err)
	}
	defer done()
	head := bufio.NewReaderSize(plain, readSize)
	if mark, err := head.Peek(3); err == nil && string(mark) == "\uFEFF" {
		_, _ = head.Discard(3) // it was just peeked at
	}
	if !startsDocument(head) {
		return i.lines(ctx, head, 0)
	}
	return i.documents(ctx, head)
}

// startsDocument reports whether the input begins with JSON that goes on after the
// first line, or after as much of it as was read.
func startsDocument(head *bufio.Reader) bool {
	text, err := head.Peek(readSize)
	first, _, cut := bytes.Cut(text, []byte("\n"))
	for cut && len(bytes.TrimSpace(first)) == 0 { // empty lines before it
		_, after, _ := bytes.Cut(text, []byte("\n"))
		text = after
		first, _, cut = bytes.Cut(text, []byte("\n"))
	}
	first = bytes.TrimSpace(first)
	if len(first) == 0 || first[0] != '{' && first[0] != '[' {
		return false
	}
	if !cut && err == nil { // a first line longer than the buffer: an event may be that long
		return looksLikeList(first)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(first), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return errors.Is(dec.SkipValue(), io.ErrUnexpectedEOF) && (cut || looksLikeList(first))
}

// looksLikeList tells many events in one document from an event by its beginning.
func looksLikeList(text []byte) bool {
	head := text[:min(len(text), 512)]
	return text[0] == '[' || bytes.Contains(head, []byte(`List"`)) || bytes.Contains(head[:min(len(head), 64)], []byte(`"items"`))
}

// lines reads JSON lines. offset is how much was read before.
func (i *importer) lines(ctx context.Context, r io.Reader, offset int64) error {
	s := splitter{r: r, most: i.cfg.MaxLine, offset: offset}
	for {
		l, err := s.next()
		if err != nil {
			last, ok := s.rest()
			if !errors.Is(err, io.EOF) {
				return i.broken(ctx, s.offset, err)
			}
			if !ok {
				return nil
			}
			return i.last(ctx, last)
		}
		if err := i.line(ctx, l); err != nil {
			return err
		}
	}
}

func (i *importer) line(ctx context.Context, l line) error {
	switch {
	case l.long:
		i.counts.Lines++
		i.counts.Long++
		return i.say(ctx, fmt.Sprintf("a line of %d bytes at byte %d is longer than %d", l.size, l.offset, i.cfg.MaxLine))
	case len(bytes.TrimSpace(l.text)) == 0:
		return nil
	}
	i.counts.Lines++
	entries, err := i.cfg.Decode(l.text)
	if err != nil {
		return i.say(ctx, fmt.Sprintf("a line of %d bytes at byte %d is no JSON", l.size, l.offset))
	}
	return i.out.add(ctx, entries, l.size)
}

// last takes a last line without an end, which may be a part of one.
func (i *importer) last(ctx context.Context, l line) error {
	if !l.long && len(bytes.TrimSpace(l.text)) == 0 {
		return nil
	}
	if !l.long {
		if entries, err := i.cfg.Decode(l.text); err == nil {
			i.counts.Lines++
			return i.out.add(ctx, entries, l.size)
		}
	}
	i.counts.Lines++
	i.counts.Truncated = fmt.Sprintf("the last line, %d bytes at byte %d, is not whole", l.size, l.offset)
	return i.say(ctx, i.counts.Truncated)
}

// broken says that the input could not be read to its end.
func (i *importer) broken(ctx context.Context, offset int64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	i.counts.Truncated = fmt.Sprintf("reading stopped at byte %d: %v", offset, err)
	if err := i.say(ctx, i.counts.Truncated); err != nil {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errPacked) {
		return nil // the input is what it is; the event and the counts say so
	}
	if ferr := i.out.flush(ctx); ferr != nil {
		return ferr
	}
	return err
}

// say adds an event about the input.
func (i *importer) say(ctx context.Context, text string) error {
	return i.out.add(ctx, []audit.Entry{ingest.Unread(i.cfg.Source, i.name+": "+text, i.cfg.Now())}, int64(len(text)))
}

// errPacked is what is wrong with compressed input.
var errPacked = errors.New("the compressed data is damaged")

// decompress gives the input as it was before gzip or zstd, which it knows by their
// first bytes.
func decompress(r io.Reader) (io.Reader, func(), error) {
	head := bufio.NewReaderSize(r, readSize)
	magic, err := head.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read the beginning: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(head)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errPacked, err)
		}
		return packed{z}, func() { _ = z.Close() }, nil // nothing is lost with it
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		const window = 128 << 20 // what the zstd command takes without being asked
		z, err := zstd.NewReader(head, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errPacked, err)
		}
		return packed{z}, z.Close, nil
	}
	return head, func() {}, nil
}

// packed marks errors of decompression.
type packed struct{ r io.Reader }

func (p packed) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errPacked, err)
	}
	return n, err // io.EOF goes through as it is
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err // a reader's errors go through as they are
}
