package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What lies in a log's directory.
const (
	lockName       = "LOCK"
	reserveName    = "reserve"
	sealedName     = "sealed"
	openingsName   = "openings"
	quarantineName = "quarantine"

	activePrefix    = "active-"
	activeSuffix    = ".wal"
	sealedSuffix    = ".parquet"
	openingsSuffix  = ".open"
	temporarySuffix = ".tmp"

	folderMode fs.FileMode = 0o700
	fileMode   fs.FileMode = 0o600

	// digits are those of the greatest sequence number, so that names sort as numbers do.
	digits = 20
)

// SegmentFile is a sealed segment: the events First to Last, in one Parquet file.
type SegmentFile struct {
	First, Last uint64
	Path        string
	// Size is the file's length in bytes.
	Size int64
}

// active is a write-ahead file in a listing.
type active struct {
	first uint64
	path  string
}

func activeName(first uint64) string {
	return fmt.Sprintf("%s%0*d%s", activePrefix, digits, first, activeSuffix)
}

func spanName(first, last uint64, suffix string) string {
	return fmt.Sprintf("%0*d-%0*d%s", digits, first, digits, last, suffix)
}

func parseNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && len(s) == digits && n > 0
}

func parseActive(name string) (first uint64, ok bool) {
	rest, isActive := strings.CutPrefix(name, activePrefix)
	number, isWhole := strings.CutSuffix(rest, activeSuffix)
	first, ok = parseNumber(number)
	return first, ok && isActive && isWhole
}

func parseSpan(name, suffix string) (first, last uint64, ok bool) {
	span, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, 0, false
	}
	from, to, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, false
	}
	first, okFirst := parseNumber(from)
	last, okLast := parseNumber(to)
	return first, last, okFirst && okLast && first <= last
}

// listActive lists the write-ahead files, in the order of their events.
func listActive(dir string) ([]active, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the log: %w", err)
	}
	var found []active
	for _, entry := range entries {
		if first, ok := parseActive(entry.Name()); ok {
			found = append(found, active{first: first, path: filepath.Join(dir, entry.Name())})
		}
	}
	slices.SortFunc(found, func(a, b active) int { return cmp.Compare(a.first, b.first) })
	return found, nil
}

// listSpans lists the files of a folder that are named by their first and last event.
// A folder that is not there has none.
func listSpans(folder, suffix string) ([]SegmentFile, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var found []SegmentFile
	for _, entry := range entries {
		first, last, ok := parseSpan(entry.Name(), suffix)
		if !ok {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list segments: %w", err)
		}
		found = append(found, SegmentFile{
			First: first, Last: last, Path: filepath.Join(folder, entry.Name()), Size: info.Size(),
		})
	}
	slices.SortFunc(found, func(a, b SegmentFile) int { return cmp.Compare(a.First, b.First) })
	return found, nil
}
