package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// maxFile is the size of one file with certificates, in bytes.
const maxFile = 1 << 20

// Folder is certificates in files: tls.crt, tls.key and ca.crt, as a mounted
// Secret has them. It is read again for each connection, so that renewed files
// count at once; files that cannot be used leave those before them in force.
// Its methods may be called at the same time.
type Folder struct {
	dir string
	log *slog.Logger

	mu   sync.Mutex
	read [3][]byte // what last was read
	last *credentials
	err  error // why what was read last cannot be used
}

// Files opens a folder, and reads it once so that mistakes show at the start.
// For the gateway side, tls.crt must be for clients and have the URI GatewayURI
// and no other; for the controller's side, for servers and with the name that
// data planes connect to. Ca.crt is who is trusted on the other end, and may be
// several certificates.
func Files(dir string, log *slog.Logger) (*Folder, error) {
	if dir == "" || log == nil {
		return nil, errors.New("relay certificates: a folder and a log are required")
	}
	f := &Folder{dir: dir, log: log}
	if _, err := f.current(); err != nil {
		return nil, err
	}
	return f, nil
}

// Client gives the TLS configuration of a data plane's next connection. Make a
// new connection with a new one: it is what relay.ClientConfig.TLS wants.
func (f *Folder) Client() (*tls.Config, error) {
	c, err := f.current()
	if err != nil {
		return nil, err
	}
	return c.client(), nil
}

// Server gives a TLS configuration for a controller, which follows the files.
func (f *Folder) Server() *tls.Config { return choosing(f.current) }

// Err says why the files could not be used when they were last read, or nil.
// What they were before stays in use, so that it is no reason to stop serving.
func (f *Folder) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *Folder) current() (*credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files, err := f.files()
	same := err == nil && bytes.Equal(files[0], f.read[0]) && bytes.Equal(files[1], f.read[1]) && bytes.Equal(files[2], f.read[2])
	switch {
	case err != nil:
		f.read = [3][]byte{}
	case same:
		err = f.err
	default:
		f.read = files
		var c *credentials
		if c, err = parseCredentials(files[0], files[1], files[2]); err == nil {
			f.last = c
		}
	}
	if err == nil {
		f.err = nil
		return f.last, nil
	}
	if !same {
		err = fmt.Errorf("relay certificates in folder %s: %w", f.dir, err)
	}
	if f.err == nil || f.err.Error() != err.Error() {
		if f.last != nil {
			f.log.LogAttrs(context.Background(), slog.LevelError, "relay certificates cannot be read; those before stay in use", slog.Any("error", err))
		}
		f.err = err
	}
	if f.last == nil {
		return nil, err
	}
	return f.last, nil
}

// files reads the three files of one moment: a kubelet exchanges them by
// pointing ..data somewhere else.
func (f *Folder) files() (out [3][]byte, err error) {
	for range 3 {
		dir := f.dir
		if to, err := os.Readlink(filepath.Join(f.dir, "..data")); err == nil && filepath.IsLocal(to) {
			dir = filepath.Join(f.dir, to)
		}
		if out, err = readAll(dir); !errors.Is(err, fs.ErrNotExist) {
			break // else the folder may have been exchanged in between
		}
	}
	return out, err
}

func readAll(dir string) (out [3][]byte, err error) {
	for i, name := range []string{keyCert, keyKey, keyBundle} {
		if out[i], err = readFile(filepath.Join(dir, name)); err != nil {
			return [3][]byte{}, err
		}
	}
	return out, nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, maxFile)
	}
	return b, nil
}
