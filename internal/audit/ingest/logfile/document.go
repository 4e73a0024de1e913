package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// chunk is how many events of one document are decoded at once.
const chunk = 128

// limited fails when more was read than one value may have, since the mark was set
// last. Without it one endless string would take all memory.
type limited struct {
	r          io.Reader
	room, most int
}

var errLong = errors.New("a value is too long")

func (l *limited) Read(b []byte) (int, error) {
	if l.room <= 0 {
		return 0, errLong
	}
	n, err := l.r.Read(b[:min(len(b), l.room)])
	l.room -= n
	return n, err // a reader's errors go through as they are
}

func (l *limited) mark() { l.room = l.most }

// streamer reads documents that may be larger than memory.
type streamer struct {
	*importer
	dec   *jsontext.Decoder
	limit *limited
	parts [][]byte
	size  int64
}

// documents reads JSON values until the input ends. After one that is broken it goes
// on at the next line.
func (i *importer) documents(ctx context.Context, r io.Reader) error {
	limit := &limited{r: r, most: i.cfg.MaxLine + readSize}
	limit.mark()
	s := streamer{importer: i, limit: limit}
	s.dec = jsontext.NewDecoder(limit, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		err := s.document(ctx)
		if err == nil {
			continue
		}
		at, unread := s.dec.InputOffset(), bytes.Clone(s.dec.UnreadBuffer())
		var syntax *jsontext.SyntacticError
		switch {
		case errors.Is(err, errAppend):
			return err
		case errors.Is(err, io.EOF) && s.dec.StackDepth() == 0:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errPacked):
			i.counts.Truncated = fmt.Sprintf("the document is not whole: it ends after byte %d", at)
			return i.say(ctx, i.counts.Truncated)
		case errors.Is(err, errLong):
			i.counts.Long++
			if err := i.say(ctx, fmt.Sprintf("a value at byte %d is longer than %d bytes", at, i.cfg.MaxLine)); err != nil {
				return err
			}
			at, unread = at+int64(len(unread)), nil // all that is the value's beginning
		case errors.As(err, &syntax):
			if err := i.say(ctx, fmt.Sprintf("what stands after byte %d is no JSON", at)); err != nil {
				return err
			}
		default:
			return i.broken(ctx, at, err)
		}
		i.counts.Lines++
		return i.resume(ctx, io.MultiReader(bytes.NewReader(unread), r), at)
	}
}

// resume goes on with the line after the one that begins here.
func (i *importer) resume(ctx context.Context, r io.Reader, offset int64) error {
	s := splitter{r: r, most: readSize, offset: offset}
	if _, err := s.next(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return i.broken(ctx, s.offset, err)
	}
	rest := io.MultiReader(bytes.NewReader(bytes.Clone(s.buf[s.from:s.to])), r)
	return i.lines(ctx, rest, s.offset)
}

// errAppend marks that the sink failed, which is not the input's fault.
var errAppend = errors.New("the log did not take it")

func appended(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errAppend, err)
	}
	return nil
}

// document reads one value at the top.
func (s *streamer) document(ctx context.Context) error {
	s.limit.mark()
	kind := s.dec.PeekKind()
	if kind == jsontext.KindBeginArray {
		return s.elements(ctx, "[", "]")
	}
	if kind == jsontext.KindBeginObject {
		return s.object(ctx)
	}
	v, err := s.dec.ReadValue()
	if err != nil {
		return err // told apart by documents
	}
	return s.whole(ctx, v)
}

// object reads an object. Its lists of events are read piece by piece, all else is
// kept together.
func (s *streamer) object(ctx context.Context) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err // told apart by documents
	}
	streamed := false
	rest := []byte("{")
	for s.dec.PeekKind() == jsontext.KindString {
		s.limit.mark()
		token, err := s.dec.ReadValue()
		if err != nil {
			return err // told apart by documents
		}
		name := bytes.Clone(token)
		if list := string(name); (list == `"items"` || list == `"records"`) && s.dec.PeekKind() == jsontext.KindBeginArray {
			streamed = true
			begin := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[`
			if list == `"records"` {
				begin = `{"records":[`
			}
			if err := s.elements(ctx, begin, "]}"); err != nil {
				return err
			}
			continue
		}
		value, err := s.dec.ReadValue()
		if err != nil {
			return err // told apart by documents
		}
		if len(rest)+len(name)+len(value) > s.cfg.MaxLine {
			return errLong
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(append(append(rest, name...), ':'), value...)
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err // told apart by documents
	}
	if streamed {
		return nil
	}
	return s.whole(ctx, append(rest, '}'))
}

// elements reads a list and decodes its elements in chunks, each between begin and
// end.
func (s *streamer) elements(ctx context.Context, begin, end string) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return err // told apart by documents
	}
	flush := func() error {
		if len(s.parts) == 0 {
			return nil
		}
		text := append([]byte(begin), bytes.Join(s.parts, []byte(","))...)
		size := s.size
		s.parts, s.size = s.parts[:0], 0
		return s.decoded(ctx, append(text, end...), size)
	}
	for s.dec.PeekKind() != jsontext.KindEndArray {
		s.limit.mark()
		value, err := s.dec.ReadValue()
		if err != nil {
			return errors.Join(err, flush()) // what came before is whole
		}
		s.counts.Lines++
		s.parts, s.size = append(s.parts, bytes.Clone(value)), s.size+int64(len(value))
		if len(s.parts) == chunk || s.size >= maxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	_, err := s.dec.ReadToken()
	return err // told apart by documents
}

func (s *streamer) whole(ctx context.Context, text []byte) error {
	s.counts.Lines++
	return s.decoded(ctx, text, int64(len(text)))
}

func (s *streamer) decoded(ctx context.Context, text []byte, size int64) error {
	entries, err := s.cfg.Decode(text)
	if err != nil {
		return appended(s.say(ctx, fmt.Sprintf("%d bytes before byte %d could not be decoded", size, s.dec.InputOffset())))
	}
	return appended(s.out.add(ctx, entries, size))
}
