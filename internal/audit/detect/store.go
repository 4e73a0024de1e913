package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileStore is a Store in one file.
type FileStore struct{ Path string }

// Load reads the file.
func (s FileStore) Load() ([]byte, error) {
	text, err := os.ReadFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of detections: %w", err)
	}
	return text, nil
}

// Save writes the file beside itself and puts it in its place when it is on disk.
func (s FileStore) Save(state []byte) error {
	next := s.Path + ".next"
	if err := write(next, state); err != nil {
		return fmt.Errorf("write the state of detections: %w", err)
	}
	if err := os.Rename(next, s.Path); err != nil {
		return fmt.Errorf("replace the state of detections: %w", err)
	}
	dir, err := os.Open(filepath.Dir(s.Path))
	if err != nil {
		return fmt.Errorf("replace the state of detections: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func write(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // whoever makes the store says where
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
