// Package manifest reads Kubernetes objects from YAML and JSON: files, folders and
// text that something rendered. Where package cluster refuses, it goes on: what
// cannot be read becomes a Problem and the rest is still judged.
//
// YAML is read as kubectl reads it (version 1.1: "yes" and "on" are booleans), by
// the same library. Lists are unfolded, in each other too. Each object keeps the
// text that it came from, and finds the line of a field by reading that again.
package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Options say what Read does beside reading.
type Options struct {
	// Stdin is what the path "-" stands for.
	Stdin io.Reader
	// Enter is asked for each folder before it is read, those that were named
	// too; false passes it over with all that is in it, so that a caller can hand
	// charts and overlays to their own readers. Default: all folders are entered,
	// but a folder with a Chart.yaml becomes a Problem, as its templates are no
	// YAML yet.
	Enter func(dir string) bool
	// Loose reads a file that was named as one of a folder is read: what is no
	// Kubernetes object in it is passed over.
	Loose bool
	// Passed is told of what is passed over in folders: documents that are no
	// Kubernetes objects, and files that are no YAML and do not look like objects.
	Passed func(bulwark.Location)
}

// Limits on what is read, which say so when they are met.
const (
	// MaxFile is how many bytes a file may have.
	MaxFile = 1 << 30
	// MaxDocument is how many bytes one document of YAML, or one object of JSON,
	// may have. A list in JSON may have more.
	MaxDocument = 16 << 20
	// maxValues is about how many values a document of YAML may have: the library
	// takes some hundred bytes for each.
	maxValues = 2_000_000
	// maxExpanded is how many bytes a document may have with its aliases written
	// out.
	maxExpanded = 64 << 20
	// maxLists is how deep lists may be in lists.
	maxLists = 16
)

// Read reads files and folders in the order of paths and names, each file once. A
// folder stands for its *.yaml, *.yml and *.json files, as to kubectl, and those of
// the folders in it whose names do not begin with a period; "-" is Options.Stdin. It
// fails only for a path that cannot be read at all.
//
// In a file that was named, a document that is no Kubernetes object is a Problem;
// in a folder only if it has the fields apiVersion and kind.
func Read(ctx context.Context, paths []string, opt Options) ([]*inventory.Object, []inventory.Problem, error) {
	if len(paths) == 0 {
		return nil, nil, errors.New("no file or folder was given")
	}
	r := &reader{opt: opt, seen: map[string]bool{}, trees: &trees{}}
	for _, p := range paths {
		if p == "-" {
			if err := r.stdin(); err != nil {
				return nil, nil, err
			}
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, nil, fmt.Errorf("read manifests: %w", err)
		}
		if info.IsDir() {
			err = r.folder(ctx, p)
		} else {
			err = r.named(p, info)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read manifests: %w", err)
		}
	}
	objects, problems := r.finish(ctx)
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("read manifests: %w", err)
	}
	return objects, problems, nil
}

// Decode reads text that something rendered, or that came over a connection. name
// is the file of its locations.
func Decode(name string, text []byte) ([]*inventory.Object, []inventory.Problem) {
	r := &reader{trees: &trees{}}
	r.text(name, text, true)
	return r.finish(context.Background())
}

func (r *reader) stdin() error {
	if r.opt.Stdin == nil {
		return errors.New("read manifests: there is no standard input to read")
	}
	text, err := io.ReadAll(io.LimitReader(r.opt.Stdin, MaxFile+1))
	if err != nil {
		return fmt.Errorf("read manifests from standard input: %w", err)
	}
	if len(text) > MaxFile {
		return fmt.Errorf("standard input has more than %d bytes, the limit", MaxFile)
	}
	r.text("stdin", text, true)
	return nil
}
