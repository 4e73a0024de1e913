package app

import (
	"errors"
	"fmt"
	"io"
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

// writeFile writes a whole file or nothing: who reads it never sees a part. A
// device or a pipe is written as it is.
func writeFile(name string, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return writeDevice(name, write)
	}
	// Not os.CreateTemp, whose files only their owner reads: others pick up reports.
	temp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%d.tmp", filepath.Base(name), os.Getpid()))
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // G302, G304: less the user's umask, where the user says
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(temp))
	}
	return nil
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
