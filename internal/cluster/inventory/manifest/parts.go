package manifest

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// reader gathers what it reads, in parts: most of the time goes into YAML, whose
// documents are read at the same time.
type reader struct {
	opt   Options
	seen  map[string]bool // files, by their path without symbolic links
	trees *trees
	parts []*part
}

// part is what came of a document, or of something smaller.
type part struct {
	// read, where it is set, is still to be done, once, by whoever comes first.
	read     func(*part)
	objects  []*inventory.Object
	problems []inventory.Problem
	passed   []bulwark.Location
}

func (p *part) problem(at bulwark.Location, what string) {
	p.problems = append(p.problems, inventory.Problem{Location: at, What: tidy(what)})
}

func (p *part) pass(at bulwark.Location) { p.passed = append(p.passed, at) }

// add makes the next part.
func (r *reader) add(read func(*part)) *part {
	p := &part{read: read}
	r.parts = append(r.parts, p)
	return p
}

func (r *reader) problem(at bulwark.Location, what string) { r.add(nil).problem(at, what) }

// finish reads what is still to be read and gives everything in its order. If ctx
// ends it gives up early.
func (r *reader) finish(ctx context.Context) ([]*inventory.Object, []inventory.Problem) {
	const few = 8 // documents, for which no goroutine pays
	workers := min(runtime.GOMAXPROCS(0), len(r.parts)/few)
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(r.parts)) && ctx.Err() == nil; i = next.Add(1) - 1 {
			if p := r.parts[i]; p.read != nil {
				p.read(p)
			}
		}
	}
	var group sync.WaitGroup
	for range workers - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	var objects []*inventory.Object
	var problems []inventory.Problem
	for _, p := range r.parts {
		objects = append(objects, p.objects...)
		problems = append(problems, p.problems...)
		for _, at := range p.passed {
			if r.opt.Passed != nil {
				r.opt.Passed(at)
			}
		}
	}
	return objects, problems
}
