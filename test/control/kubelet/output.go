package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The streams of a container, as the log file names them.
const (
	stdoutStream = "stdout"
	stderrStream = "stderr"
)

const (
	logFile         = "log"
	previousLogFile = "previous.log"
	maxLogLine      = 16 << 10 // longer lines are kept in parts, as container runtimes do
)

// output takes what a process prints: to the log file, line by line with its
// time, and to whoever is attached, as it comes. Someone attached who does not
// read holds the process up, until he is gone.
type output struct {
	now  func() time.Time
	path string

	mu      sync.Mutex
	file    *os.File
	lines   map[string]*bytes.Buffer // unfinished ones, by stream
	readers map[int]reader
	next    int
	closed  chan struct{}
}

type reader struct {
	stream string
	w      io.Writer
}

// openOutput begins a new log in dir; the one before stays as the previous one.
func openOutput(dir string, now func() time.Time) (*output, error) {
	path := filepath.Join(dir, logFile)
	if err := os.Rename(path, filepath.Join(dir, previousLogFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keep log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return &output{
		now: now, path: path, file: f, readers: map[int]reader{}, closed: make(chan struct{}),
		lines: map[string]*bytes.Buffer{stdoutStream: {}, stderrStream: {}},
	}, nil
}

// stream gives the writer for one of the process's streams.
func (o *output) stream(name string) io.Writer {
	return writerFunc(func(b []byte) { o.write(name, b) })
}

func (o *output) write(stream string, b []byte) {
	o.mu.Lock()
	line := o.lines[stream]
	for rest := b; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte{'\n'})
		if room := maxLogLine - line.Len(); len(part) > room {
			part, after, whole = rest[:room], rest[room:], false
		}
		line.Write(part)
		switch {
		case whole:
			o.flush(stream, "F")
		case line.Len() >= maxLogLine:
			o.flush(stream, "P")
		}
		rest = after
	}
	var to []io.Writer
	var ids []int
	for id, r := range o.readers {
		if r.stream == stream {
			to, ids = append(to, r.w), append(ids, id)
		}
	}
	o.mu.Unlock()
	for i, w := range to {
		if _, err := w.Write(b); err != nil {
			o.detach(ids[i])
		}
	}
}

// flush writes the buffered line; the caller holds the lock.
func (o *output) flush(stream, tag string) {
	line := o.lines[stream]
	// A full disk shows in the log that is missing.
	_, _ = fmt.Fprintf(o.file, "%s %s %s %s\n", o.now().UTC().Format(time.RFC3339Nano), stream, tag, line.Bytes())
	line.Reset()
}

// attach copies a stream to w from now on, until detach.
func (o *output) attach(stream string, w io.Writer) (id int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	o.readers[o.next] = reader{stream, w}
	return o.next
}

func (o *output) detach(id int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.readers, id)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for stream, line := range o.lines {
		if line.Len() > 0 {
			o.flush(stream, "F")
		}
	}
	_ = o.file.Close()
	close(o.closed)
}

// tail gives the last printed bytes, without times.
func (o *output) tail(ctx context.Context, limit int) string {
	var b bytes.Buffer
	if err := followLog(ctx, &b, o.path, logQuery{tail: 80}, nil); err != nil {
		return ""
	}
	text := b.Bytes()
	return string(text[max(0, len(text)-limit):])
}

type writerFunc func([]byte)

// Write implements io.Writer.
func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
