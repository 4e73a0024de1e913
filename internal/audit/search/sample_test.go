package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
	"bulwark.dev/bulwark/internal/audit/segment"
)

func mustParse(tb testing.TB, text string) *query.Query {
	tb.Helper()
	q, err := query.Parse(text, query.Env{Now: searchtest.Noon()})
	if err != nil {
		if problem, ok := errors.AsType[*query.Error](err); ok {
			tb.Fatalf("%v\n%s", err, problem.Caret())
		}
		tb.Fatal(err)
	}
	return q
}

// memory is a trail of events in memory: some in segments, the rest not sealed.
type memory struct {
	segments []Sealed
	rest     []*audit.Event
}

func (m *memory) Segments() []Sealed { return m.segments }

func (m *memory) Unsealed(_ context.Context, fn func(*audit.Event) error) error {
	for _, e := range m.rest {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// parquet is a segment's file in memory.
type parquet struct {
	name   string
	file   []byte
	broken bool // as a whole
	opened *int
	known  *query.Known
}

func (p *parquet) Known() (query.Known, bool) {
	if p.known == nil {
		return query.Known{}, false
	}
	return *p.known, true
}

func (p *parquet) Name() string { return p.name }

func (p *parquet) Open() (Segment, error) {
	if p.opened != nil {
		*p.opened++
	}
	r, err := segment.Open(bytes.NewReader(p.file), int64(len(p.file)))
	if err != nil {
		return nil, err
	}
	if p.broken {
		return &failing{columns{Reader: r, file: io.NopCloser(nil)}}, nil
	}
	return &columns{Reader: r, file: io.NopCloser(nil)}, nil
}

// failing opens, and then cannot be read.
type failing struct{ columns }

func (f *failing) Times(context.Context, []int32) ([]time.Time, error) {
	return nil, errors.New("the disk gave nothing")
}

// seen is what is known of a segment with these events.
func seen(events []*audit.Event) *query.Known {
	k := query.Known(searchtest.See(events))
	return &k
}

// seal puts events into a segment; pruned says which rows to take away.
func seal(tb fataler, events []*audit.Event, pruned func(*audit.Event) bool) *parquet {
	tb.Helper()
	rows := make([]segment.Row, len(events))
	for i, e := range events {
		rows[i] = segment.Row{Event: e, Leaf: leafOf(e)}
		if pruned != nil && pruned(e) {
			rows[i].Event, rows[i].Pruned = nil, true
		}
	}
	var b bytes.Buffer
	if err := segment.Write(&b, events[0].Seq, rows, segment.Meta{}); err != nil {
		tb.Fatalf("seal: %v", err)
	}
	return &parquet{name: fmt.Sprintf("%d-%d", events[0].Seq, events[len(events)-1].Seq), file: b.Bytes()}
}

// fataler is a test, or one case of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}
