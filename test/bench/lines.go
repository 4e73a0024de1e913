package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lineCounter counts the lines that are appended to the files of a folder. A nil
// counter expects none and is satisfied with any.
type lineCounter struct {
	dir string
	// seen is how far each file was read, by inode: a log is renamed when it is
	// full.
	seen map[uint64]int64
}

// skip forgets the lines written so far, once no more are coming.
func (c *lineCounter) skip(ctx context.Context) error {
	if c == nil {
		return nil
	}
	for end := time.Now().Add(eventWait); time.Now().Before(end) && ctx.Err() == nil; {
		n, err := c.count()
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("lines still arrive in %s after %s without load", c.dir, eventWait)
}

// want waits for n new lines.
func (c *lineCounter) want(ctx context.Context, n int64) error {
	if c == nil {
		return nil
	}
	var got int64
	for end := time.Now().Add(eventWait); ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		more, err := c.count()
		if err != nil {
			return err
		}
		if got += more; got >= n {
			return nil
		}
		if time.Now().After(end) {
			break
		}
	}
	return fmt.Errorf("%d lines for %d requests in %s", got, n, c.dir)
}

// count gives how many lines are new since the last call.
func (c *lineCounter) count() (int64, error) {
	if c.seen == nil {
		c.seen = make(map[uint64]int64)
	}
	var total int64
	buf := make([]byte, 1<<20)
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n, err := c.read(path, buf)
		total += n
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count lines in %s: %w", c.dir, err)
	}
	return total, nil
}

// read counts the new lines of one file.
func (c *lineCounter) read(path string, buf []byte) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("look at %s: no inode", path)
	}
	var total int64
	for {
		n, err := f.ReadAt(buf, c.seen[sys.Ino])
		total += int64(bytes.Count(buf[:n], []byte{'\n'}))
		c.seen[sys.Ino] += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read %s: %w", path, err)
		}
	}
}
