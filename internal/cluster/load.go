package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// LoadFiles reads every object of the files and folders named, as a Snapshot.
// A folder stands for the *.yaml, *.yml and *.json files in and below it. Any
// mistake, in any file, makes the whole load fail; the error is a *LoadError
// with all of them. Files without any object to read are a mistake too, since
// an empty configuration is more often a wrong path than a wish.
func LoadFiles(paths []string) (*Snapshot, error) {
	return new(loader).load(paths)
}

// loader reads files and remembers the documents of the last load, so that a
// reload decodes only what changed. Its zero value is ready. One load runs at a
// time.
type loader struct {
	known map[[sha256.Size]byte]*document
}

// task is one document to decode, and where it stands.
type task struct {
	file  string
	first int
	text  []byte
	json  bool
	hash  [sha256.Size]byte
	doc   *document
}

func (l *loader) load(paths []string) (*Snapshot, error) {
	f := find(paths)
	return l.loadFound(f, strings.Join(paths, ", "))
}

// loadFound reads the files that were found. Text names them all.
func (l *loader) loadFound(f *finder, all string) (*Snapshot, error) {
	problems := f.problems
	tasks, digest, bad := readAll(f.files)
	problems = append(problems, bad...)
	l.decode(tasks)
	snap := &Snapshot{digest: digest, places: map[Ref]place{}}
	for _, t := range tasks {
		for _, p := range t.doc.problems {
			p.File, p.Line = t.file, t.first+p.Line-1
			problems = append(problems, p)
		}
		for _, i := range t.doc.ignored {
			i.File, i.Line = t.file, t.first+i.Line-1
			snap.Ignored = append(snap.Ignored, i)
		}
		for _, o := range t.doc.objects {
			here := place{file: t.file, first: t.first, doc: t.doc, obj: o}
			ref := refOf(o.obj)
			if other, twice := snap.places[ref]; twice && ref.Name != "" {
				problems = append(problems, Problem{
					File: t.file, Line: here.line(o.line), Object: ref.String(),
					Message: fmt.Sprintf("is defined twice: here and at %s:%d", other.file, other.line(other.obj.line)),
				})
				continue
			}
			snap.places[ref] = here
			snap.put(o.obj)
		}
	}
	if len(problems) == 0 && len(snap.places) == 0 {
		msg := "holds no object that Bulwark reads"
		if n := len(snap.Ignored); n > 0 {
			msg += fmt.Sprintf(" (%d of other kinds)", n)
		}
		problems = []Problem{{File: all, Message: msg}}
	}
	if err := newLoadError(problems); err != nil {
		return nil, err
	}
	snap.sort()
	return snap, nil
}

// readAll reads the files and cuts them into documents.
func readAll(files []found) (tasks []*task, digest string, problems []Problem) {
	sum, total := sha256.New(), int64(0)
	for _, f := range files {
		text, err := read(f.path, min(MaxFile, MaxTotal-total))
		if err != nil {
			bad := &finder{}
			bad.problem(f.path, err)
			problems = append(problems, bad.problems...)
			continue
		}
		total += int64(len(text))
		_, _ = fmt.Fprintf(sum, "%q %d\n", f.path, len(text)) // a hash takes everything
		_, _ = sum.Write(text)
		text = bytes.TrimPrefix(text, []byte("\uFEFF"))
		if line, msg := nodes.CheckText(text); msg != "" {
			problems = append(problems, Problem{File: f.path, Line: line, Message: msg})
			continue
		}
		isJSON := filepath.Ext(f.path) == ".json"
		chunks := []nodes.Chunk{{First: 1, Text: text}}
		if !isJSON {
			chunks = nodes.Split(text)
		}
		for _, c := range chunks {
			tasks = append(tasks, &task{file: f.path, first: c.First, text: c.Text, json: isJSON})
		}
	}
	return tasks, hex.EncodeToString(sum.Sum(nil)), problems
}

// decode fills in the documents of all tasks, those that are new with as many
// workers as there are processors.
func (l *loader) decode(tasks []*task) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(tasks)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(tasks); i = next.Add(1) - 1 {
				t := tasks[i]
				t.hash = hashOf(t)
				if t.doc = l.known[t.hash]; t.doc == nil {
					t.doc = decodeDocument(t.text, t.json)
				}
			}
		})
	}
	wg.Wait()
	l.known = make(map[[sha256.Size]byte]*document, len(tasks))
	for _, t := range tasks {
		l.known[t.hash] = t.doc
	}
}

func hashOf(t *task) [sha256.Size]byte {
	form := byte('y')
	if t.json {
		form = 'j'
	}
	return sha256.Sum256(append([]byte{form}, t.text...))
}
