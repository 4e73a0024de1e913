package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// logQuery is what kubectl logs asks for.
type logQuery struct {
	since      time.Time
	tail       int // lines from the end; -1 takes all
	limit      int64
	timestamps bool
	follow     bool
	previous   bool
	stream     string // empty takes both
}

func parseLogQuery(q url.Values, now time.Time) (logQuery, error) {
	l := logQuery{
		tail: -1, follow: q.Get("follow") == "true", timestamps: q.Get("timestamps") == "true", previous: q.Get("previous") == "true",
	}
	if s := q.Get("stream"); s != "" && s != "All" {
		l.stream = strings.ToLower(s)
	}
	var errs []error
	number := func(name string, set func(int64)) {
		s := q.Get(name)
		if s == "" {
			return
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("%s=%q is no count", name, s))
			return
		}
		set(n)
	}
	number("tailLines", func(n int64) { l.tail = int(n) })
	number("limitBytes", func(n int64) { l.limit = n })
	number("sinceSeconds", func(n int64) { l.since = now.Add(-time.Duration(n) * time.Second) })
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("sinceTime: %w", err))
		}
		l.since = t
	}
	return l, errors.Join(errs...)
}

// render gives what a line of the log file shows to this query; ok is false
// when it shows nothing.
func (q logQuery) render(line []byte) (out []byte, ok bool) {
	stamp, rest, _ := bytes.Cut(line, []byte{' '})
	stream, rest, _ := bytes.Cut(rest, []byte{' '})
	tag, text, _ := bytes.Cut(rest, []byte{' '})
	if q.stream != "" && q.stream != string(stream) {
		return nil, false
	}
	if !q.since.IsZero() {
		if t, err := time.Parse(time.RFC3339Nano, string(stamp)); err != nil || t.Before(q.since) {
			return nil, false
		}
	}
	if q.timestamps {
		out = append(append(out, stamp...), ' ')
	}
	out = append(out, text...)
	if string(tag) == "P" {
		out = bytes.TrimSuffix(out, []byte{'\n'})
	}
	return out, true
}

var errLimit = errors.New("limit of bytes reached")

// followLog writes what the log at path holds and, with q.follow, what is added
// until over is closed or ctx ends.
func followLog(ctx context.Context, w io.Writer, path string, q logQuery, over <-chan struct{}) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer func() { _ = f.Close() }()
	if q.limit > 0 {
		w = &limited{w: w, left: q.limit}
	}
	in := bufio.NewReader(f)
	var held [][]byte // while the tail is not known
	emit := func(line []byte) error {
		out, ok := q.render(line)
		if !ok {
			return nil
		}
		if q.tail < 0 {
			_, err := w.Write(out)
			return err
		}
		held = append(held, out)
		held = held[max(0, len(held)-q.tail):]
		return nil
	}
	var partial []byte
	// Lines written before over was closed are read before it is looked at.
	for last := false; ; {
		line, err := in.ReadBytes('\n')
		partial = append(partial, line...)
		if err == nil {
			err := emit(partial)
			partial = nil
			if err != nil {
				return ignoreLimit(err)
			}
			continue
		}
		for _, line := range held {
			if _, err := w.Write(line); err != nil {
				return ignoreLimit(err)
			}
		}
		held, q.tail = nil, -1
		if !q.follow || last {
			return nil
		}
		if fl, ok := w.(interface{ Flush() }); ok {
			fl.Flush()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			last = true
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ignoreLimit(err error) error {
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// limited ends with errLimit after so many bytes.
type limited struct {
	w    io.Writer
	left int64
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	short := int64(len(b)) > l.left
	if short {
		b = b[:l.left]
	}
	n, err := l.w.Write(b)
	l.left -= int64(n)
	if err == nil && short {
		err = errLimit
	}
	return n, err
}

// Flush passes on to a writer that buffers.
func (l *limited) Flush() {
	if f, ok := l.w.(interface{ Flush() }); ok {
		f.Flush()
	}
}
