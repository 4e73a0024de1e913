package log

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
)

func numbered(from, to uint64) (out []*audit.Event) {
	for seq := from; seq <= to; seq++ {
		out = append(out, &audit.Event{Seq: seq})
	}
	return out
}

func seqs(events []*audit.Event) (out []uint64) {
	for _, e := range events {
		out = append(out, e.Seq)
	}
	return out
}

// TestRecent: it holds at least the last so many, and never a gap.
func TestRecent(t *testing.T) {
	t.Parallel()
	r := recent{most: 4}
	r.add(numbered(1, 3))
	early := r.from(1)
	r.add(numbered(4, 8))
	if diff := cmp.Diff([]uint64{5, 6, 7, 8}, seqs(r.from(5))); diff != "" {
		t.Error(diff)
	}
	r.add(numbered(9, 9))
	if got := r.from(4); got != nil {
		t.Errorf("it still has %v", seqs(got))
	}
	if diff := cmp.Diff([]uint64{6, 7, 8, 9}, seqs(r.from(6))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, seqs(early)); diff != "" {
		t.Errorf("what was given has changed: %s", diff)
	}
	r.add(numbered(20, 21)) // what lies between was written by nobody that told
	if got := r.from(9); got != nil {
		t.Errorf("before the gap it has %v", seqs(got))
	}
	if diff := cmp.Diff([]uint64{21}, seqs(r.from(21))); diff != "" {
		t.Error(diff)
	}
	if got := append(r.from(22), r.from(0)...); got != nil {
		t.Errorf("from nowhere it has %v", seqs(got))
	}
	var none recent
	none.add(numbered(1, 3))
	if got := none.from(1); got != nil {
		t.Errorf("one that holds none has %v", seqs(got))
	}
}

// TestEvents follows a log while several write it: what comes from memory and from the
// disk is each event once, in order, and the same.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 1, 50, 10_000} {
		cfg := testConfig(t)
		cfg.Recent = most
		l := mustOpen(t, cfg)
		mustAppend(t, l, entries("before", 120))
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 40 {
					if _, err := l.Append(t.Context(), entries(fmt.Sprintf("w%d-%d", w, i), 1+i%7)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		go func() {
			writers.Wait()
			if _, err := l.Append(t.Context(), entries("last", 1)); err != nil {
				t.Error(err)
			}
		}()
		var got []*audit.Event
		for ended := false; !ended; {
			changed := l.Changed()
			err := l.Events(t.Context(), uint64(len(got))+1, func(e *audit.Event) error {
				got = append(got, e)
				ended = e.AuditID == "last-0"
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !ended {
				<-changed
			}
		}
		v, err := l.View()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = v.Events(t.Context(), 1, func(e *audit.Event) error {
			if n >= len(got) || got[n].Seq != e.Seq || string(audit.AppendCanonical(nil, got[n])) != string(audit.AppendCanonical(nil, e)) {
				return fmt.Errorf("event %d differs", e.Seq)
			}
			n++
			return nil
		})
		if err != nil || n != len(got) {
			t.Errorf("holding %d: %d of %d events: %v", most, n, len(got), err)
		}
	}
}
