package logfile

import (
	"bytes"
	"io"
	"slices"
)

// line is one line of an input.
type line struct {
	// text is the line without its end; nil where it is too long.
	text []byte
	// offset is where it begins, size how many bytes it has with its end.
	offset, size int64
	// long says that it has more bytes than are kept of one.
	long bool
	// whole says that its end was seen.
	whole bool
}

// splitter cuts what it reads into lines. It keeps one line in memory and never more
// than most bytes of it.
type splitter struct {
	r    io.Reader
	most int

	buf      []byte
	from, to int // what is not given yet
	seen     int // up to where there is no end of a line
	skipped  int64
	offset   int64
	err      error
}

const readSize = 64 << 10

// next gives the next whole line. Its text is valid until the next call. At an error,
// io.EOF among them, the beginning of a line stays: next may be called again where
// the input grows, and rest gives what there is.
func (s *splitter) next() (line, error) {
	for {
		if i := bytes.IndexByte(s.buf[s.seen:s.to], '\n'); i >= 0 {
			return s.give(s.seen+i, 1), nil
		}
		s.seen = s.to
		if s.to-s.from > s.most+1 { // a carriage return may follow the most
			s.skipped += int64(s.to - s.from)
			s.from = s.to
		}
		if err := s.err; err != nil {
			s.err = nil
			return line{}, err
		}
		s.fill()
	}
}

// rest gives the line that has no end, if there is one.
func (s *splitter) rest() (line, bool) {
	if s.pending() == 0 {
		return line{}, false
	}
	return s.give(s.to, 0), true
}

// pending is how many bytes there are of a line without an end.
func (s *splitter) pending() int64 { return s.skipped + int64(s.to-s.from) }

// give cuts at end, where so many bytes end the line.
func (s *splitter) give(end, ending int) line {
	text := s.buf[s.from:end]
	l := line{offset: s.offset, size: s.skipped + int64(len(text)+ending), whole: ending > 0}
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	if l.long = s.skipped > 0 || len(text) > s.most; !l.long {
		l.text = text
	}
	s.offset += l.size
	s.from, s.skipped = end+ending, 0
	s.seen = s.from
	return l
}

// fill reads more.
func (s *splitter) fill() {
	if s.from > 0 {
		s.to = copy(s.buf, s.buf[s.from:s.to])
		s.seen -= s.from
		s.from = 0
	}
	if len(s.buf)-s.to < readSize/2 {
		s.buf = slices.Grow(s.buf[:s.to], max(readSize, s.to))
		s.buf = s.buf[:cap(s.buf)]
	}
	n, err := s.r.Read(s.buf[s.to:])
	s.to += n
	s.err = err
}
