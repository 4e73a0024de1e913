package archive

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder is a Store in a folder, which is there already: a mount that is missing must not
// become a folder of the machine's own.
type Folder struct{ root *os.Root }

// OpenFolder opens a folder. Names cannot lead out of it.
func OpenFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	return &Folder{root}, nil
}

// Close gives the folder free.
func (f *Folder) Close() error { return f.root.Close() } //nolint:wrapcheck // it names the folder

// unfinished begins the names of files that are being written.
const unfinished = ".part-"

// List tells of every file but unfinished ones.
func (f *Folder) List(ctx context.Context, each func(name string) error) error {
	return fs.WalkDir(f.root.FS(), ".", func(name string, e fs.DirEntry, err error) error { //nolint:wrapcheck // it names the file
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case e.Type().IsRegular() && filepath.Base(name)[0] != '.':
			return each(name)
		}
		return nil
	})
}

// Put writes a file beside its place, syncs it and moves it there.
func (f *Folder) Put(ctx context.Context, name string, content io.Reader, size int64, sum Sum) (err error) {
	if err := ctx.Err(); err != nil {
		return err //nolint:wrapcheck // the caller says what it was doing
	}
	dir, base := filepath.Split(filepath.FromSlash(name))
	if err := f.root.MkdirAll(filepath.Clean(dir), 0o750); err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	part := filepath.Join(dir, unfinished+rand.Text()+"-"+base)
	out, err := f.root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	digest := sha256.New()
	written, err := io.Copy(io.MultiWriter(out, digest), content)
	if err == nil && (written != size || Sum(digest.Sum(nil)) != sum) {
		err = errors.New("it changed while it was copied")
	}
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = f.root.Rename(part, filepath.FromSlash(name))
	}
	if err != nil {
		return errors.Join(err, f.root.Remove(part))
	}
	return f.sync(filepath.Clean(dir))
}

// sync makes a folder's names durable.
func (f *Folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get reads a file.
func (f *Folder) Get(_ context.Context, name string, limit int64) ([]byte, error) {
	in, err := f.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	defer in.Close() //nolint:errcheck // only read
	return readAtMost(in, limit)
}

func readAtMost(in io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what it was doing
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return text, nil
}

// Sum is that of the content as it is now.
func (f *Folder) Sum(_ context.Context, name string) (Sum, error) {
	in, err := f.root.Open(filepath.FromSlash(name))
	if err != nil {
		return Sum{}, err //nolint:wrapcheck // it names the file
	}
	defer in.Close() //nolint:errcheck // only read
	digest := sha256.New()
	if _, err := io.Copy(digest, in); err != nil {
		return Sum{}, err //nolint:wrapcheck // likewise
	}
	return Sum(digest.Sum(nil)), nil
}
