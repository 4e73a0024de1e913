package content

import (
	"sync"
	"sync/atomic"

	"bulwark.dev/bulwark"
)

// memo remembers what a control said of parts with the same fields. It is of fixed
// size, and what does not fit takes the place of another.
type memo struct {
	// slots are made when there is something to remember: most controls are for kinds
	// that are not there.
	slots func() *[memoSize]atomic.Pointer[said]
}

func newMemo() *memo {
	return &memo{sync.OnceValue(func() *[memoSize]atomic.Pointer[said] { return new([memoSize]atomic.Pointer[said]) })}
}

const (
	memoSize = 2048
	// mostKept is how many results one place may have to be remembered: what has more
	// is seldom there twice, and its messages may be long.
	mostKept = 16
)

// said is the outcome of one part, or of one list, relative to where it stands.
type said struct {
	key             uint64
	passed, skipped bool
	out             []outcome
}

// outcome is one result, without the names and paths of the place.
type outcome struct {
	verdict bulwark.Verdict
	at      string // path of the element below the place
	id      string // names of the elements
	message string
	reason  string
}

func (m *memo) get(key uint64) *said {
	if s := m.slots()[key%memoSize].Load(); s != nil && s.key == key {
		return s
	}
	return nil
}

func (m *memo) put(s *said) { m.slots()[s.key%memoSize].Store(s) }
