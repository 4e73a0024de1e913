package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// pace is what one asker waits between two questions: constant load, not a
// bench.
const pace = 5 * time.Millisecond

// load asks the same few questions all the time, and knows the answers.
type load struct {
	t     *testing.T
	stop  chan struct{}
	work  sync.WaitGroup
	mu    sync.Mutex
	done  int
	wrong []string
}

// question is a request and the status it must have.
type question struct {
	request
	want int
}

// newLoad starts asking at an address, each question by two connections of its
// own, half of which are used again.
func newLoad(t *testing.T, at, host string, questions ...question) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{})}
	for i, q := range slices.Concat(questions, questions) {
		l.work.Go(func() {
			c := dial(t, at, host, nil)
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				a, err := c.try(q.request)
				l.mu.Lock()
				l.done++
				switch {
				case err != nil:
					l.wrong = append(l.wrong, fmt.Sprintf("%s %s: %v", q.method, q.path, err))
				case a.status != q.want:
					l.wrong = append(l.wrong, fmt.Sprintf("%s %s: %d, want %d: %s", q.method, q.path, a.status, q.want, a.body))
				}
				l.mu.Unlock()
				if i < len(questions) {
					c.http.CloseIdleConnections()
				}
				time.Sleep(pace)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// answers gives how many there were so far.
func (l *load) answers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.work.Wait()
}

// clean ends the load and fails if one answer was wrong.
func (l *load) clean() {
	l.t.Helper()
	l.end()
	asked.Add(int64(l.done))
	l.t.Logf("%d answers, %d wrong", l.done, len(l.wrong))
	if l.done < 100 {
		l.t.Errorf("%d answers are too few to prove anything", l.done)
	}
	for i, w := range l.wrong {
		if i == 10 {
			l.t.Errorf("and %d more", len(l.wrong)-i)
			break
		}
		l.t.Error(w)
	}
}
