package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/posture/baseline"
)

// maxSmallFile bounds files that people write.
const maxSmallFile = 16 << 20

// readBounded reads a file that should be small.
func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // G304: the user names it
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	defer func() { _ = file.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(file, maxSmallFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxSmallFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxSmallFile)
	}
	return text, nil
}

func readBaseline(name string) (*baseline.Baseline, error) {
	file, err := os.Open(name) //nolint:gosec // G304: the user names it
	if err != nil {
		return nil, fmt.Errorf("--baseline: %w", err)
	}
	defer func() { _ = file.Close() }() // read only
	b, err := baseline.Read(file)
	if err != nil {
		return nil, fmt.Errorf("--baseline %s: %w", name, err)
	}
	return b, nil
}

// writeFile writes a file that others may read, such as a report, as far as the
// user's umask lets them.
func writeFile(name string, write func(io.Writer) error) error {
	return writeWhole(name, 0o666, write)
}

// writeWhole writes a whole file or nothing: who reads it never sees a part. It has
// no more than the mode, and none that the file which is there already has not; a link
// stays a link, and what is read-only is not written. A device or a pipe is written as
// it is.
func writeWhole(name string, mode fs.FileMode, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	was, err := os.Stat(name)
	switch {
	case err != nil: // a new file, or making it says what is wrong
		was = nil
	case !was.Mode().IsRegular():
		return writeDevice(name, write)
	case was.Mode().Perm()&0o222 == 0:
		return fmt.Errorf("write %s: it is read-only", name)
	}
	file, err := beside(name, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if was != nil {
		err = file.Chmod(was.Mode().Perm() & mode)
	}
	if err == nil {
		err = write(file)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}

// beside makes a file next to another. In a container every run has the same number,
// so that one that was killed must not be in the way of the next.
func beside(name string, mode fs.FileMode) (*os.File, error) {
	const most = 1000
	for i := 0; ; i++ {
		temp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%d.%d.tmp", filepath.Base(name), os.Getpid(), i))
		file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // G304: where the user says
		if !errors.Is(err, fs.ErrExist) || i == most {
			return file, err //nolint:wrapcheck // the caller names the file
		}
	}
}

func writeDevice(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0) //nolint:gosec // G304: the user names it
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
