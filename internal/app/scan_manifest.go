package app

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/cluster/inventory/saved"
)

// file reads a file that the user named: what --save wrote, or manifests.
func (r *fileReader) file(ctx context.Context, path string) error {
	file, err := os.Open(path) //nolint:gosec // G304: the user names it
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer func() { _ = file.Close() }() // read only
	head := make([]byte, 4096)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if !saved.Is(head[:n]) {
		return r.files(ctx, []string{path}, nil)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	snap, err := saved.Read(file)
	switch {
	case errors.Is(err, saved.ErrManifests):
		return r.files(ctx, []string{path}, nil)
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case len(r.f.paths) > 1:
		return fmt.Errorf("%s is a whole cluster: give it alone", path)
	}
	r.saved = snap
	return nil
}

// files reads manifests.
func (r *fileReader) files(ctx context.Context, paths []string, enter func(string) bool) error {
	objects, problems, err := manifest.Read(ctx, paths, manifest.Options{Stdin: r.env.Stdin, Enter: enter, Loose: r.f.changed})
	if err != nil {
		return err //nolint:wrapcheck // it says what was read
	}
	r.add(objects, problems)
	return nil
}

// saveSnapshot writes a file that only the user reads: no value of a Secret is in it,
// and all else that a cluster's admin sees.
func saveSnapshot(name string, snap *inventory.Snapshot) error {
	return writeWhole(name, 0o600, func(w io.Writer) error {
		if !strings.HasSuffix(name, ".gz") {
			return saved.Write(w, snap) //nolint:wrapcheck // it says what it was doing
		}
		z := gzip.NewWriter(w)
		return errors.Join(saved.Write(z, snap), z.Close())
	})
}
