package logfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// headSize is how much of a file's beginning tells it from another with its inode.
const headSize = 1024

// position is how far a file was read, and which file it was: names change when a
// file is rotated, and inodes are used again.
type position struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// Offset is that of the first line whose events are not known to be kept.
	Offset int64 `json:"offset"`
	// Head is the SHA-256 of the first HeadSize bytes, all of which were read.
	Head     string `json:"head"`
	HeadSize int64  `json:"headSize"`
}

// errNoPosition says that nothing was kept so far.
var errNoPosition = errors.New("there is no saved position")

// loadPosition reads a saved position. One that is broken is an error: to begin anew
// would put everything into the trail twice.
func loadPosition(file string) (position, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator named it
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, errNoPosition
	}
	if err != nil {
		return position{}, fmt.Errorf("read saved position: %w", err)
	}
	var p position
	if err := json.Unmarshal(text, &p); err != nil {
		return position{}, fmt.Errorf("read saved position %s: %w", file, err)
	}
	if p.Offset < 0 || p.HeadSize < 0 || p.HeadSize > headSize || p.HeadSize > p.Offset {
		return position{}, fmt.Errorf("read saved position %s: it makes no sense", file)
	}
	return p, nil
}

// save writes the position so that after a crash it is either the old or the new one.
func (p position) save(file string) (err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that is told already says enough
		}
	}()
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("save position %s: %w", file, err)
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator named it
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	return nil
}

// headOf gives the hash of so many bytes of a file's beginning; false where it has
// not so many.
func headOf(f io.ReaderAt, size int64) (string, bool) {
	buf := make([]byte, size)
	if n, _ := f.ReadAt(buf, 0); int64(n) < size { // an error shows in n
		return "", false
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:]), true
}

// is reports whether a file is the one of the position, and still has what was read.
func (p position) is(f *os.File) bool {
	device, inode, _, err := identity(f)
	return err == nil && device == p.Device && inode == p.Inode && p.begins(f)
}

// copied reports whether a file is a copy of the one of the position.
func (p position) copied(f *os.File) bool { return p.HeadSize > 0 && p.begins(f) }

func (p position) begins(f *os.File) bool {
	_, _, size, err := identity(f)
	if err != nil || size < p.Offset {
		return false
	}
	head, ok := headOf(f, p.HeadSize)
	return ok && head == p.Head
}

// positionIn is the position in a file up to an offset.
func positionIn(f *os.File, offset int64) (position, error) {
	device, inode, _, err := identity(f)
	if err != nil {
		return position{}, err
	}
	p := position{Device: device, Inode: inode, Offset: offset, HeadSize: min(offset, headSize)}
	head, ok := headOf(f, p.HeadSize)
	if !ok {
		return position{}, fmt.Errorf("save position in %s: the file is shorter than what was read of it", f.Name())
	}
	p.Head = head
	return p, nil
}
