package isolate

import (
	"encoding/gob"
	"fmt"
	"io"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// exitMemory is the exit code of a worker whose job needed too much memory.
const exitMemory = 3

// maxStack is what a template needs that Go's own template package ends for its
// depth, and a quarter of what Go would give.
const maxStack = 256 << 20

// Job does one kind of work.
type Job func(job []byte) ([]byte, error)

// Serve does jobs by their kind, one after the other, for the Host that holds the
// other ends of r and w, to which nothing else may write. exit ends the process:
// when a job needs too much memory, and when r ends, since then nobody waits for the
// job that runs.
func Serve(r io.Reader, w io.Writer, jobs map[string]Job, exit func(code int)) error {
	debug.SetMaxStack(maxStack)
	requests := make(chan request)
	go func() { // ends with the process
		in := gob.NewDecoder(r)
		for {
			var q request
			if in.Decode(&q) != nil {
				exit(0)
				return
			}
			requests <- q
		}
	}()
	out := gob.NewEncoder(w)
	for q := range requests {
		stop := watch(q.Memory, func() { exit(exitMemory) })
		answer := do(jobs, q)
		stop()
		if err := out.Encode(answer); err != nil {
			return fmt.Errorf("answer a job: %w", err)
		}
	}
	return nil
}

func do(jobs map[string]Job, q request) (answer reply) {
	defer func() {
		if r := recover(); r != nil {
			answer = reply{Err: fmt.Sprintf("gave up: %v", r)}
		}
	}()
	job, ok := jobs[q.Kind]
	if !ok {
		return reply{Err: fmt.Sprintf("there is no work of the kind %q", q.Kind)}
	}
	made, err := job(q.Job)
	if err != nil {
		return reply{Err: err.Error()}
	}
	return reply{Out: made}
}

// watch calls over once the heap and the stacks have more than most bytes.
func watch(most uint64, over func()) (stop func()) {
	const often = 5 * time.Millisecond
	// What is garbage is taken away before it looks like use.
	before := debug.SetMemoryLimit(int64(most / 4 * 3)) //nolint:gosec // G115: a limit is far below
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		used := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		tick := time.NewTicker(often)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			metrics.Read(used)
			if used[0].Value.Uint64()+used[1].Value.Uint64() > most {
				over()
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-gone
		debug.SetMemoryLimit(before)
	}
}
