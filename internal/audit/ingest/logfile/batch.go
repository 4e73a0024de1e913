package logfile

import (
	"context"
	"fmt"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// maxBatchBytes bounds the input that one batch is made of.
const maxBatchBytes = 8 << 20

// batch gathers entries for a sink.
type batch struct {
	sink  ingest.Sink
	most  int
	after func(entries []audit.Entry, first uint64)

	entries []audit.Entry
	bytes   int64
}

// add takes entries that were made of so many bytes, and hands them on when they are
// enough.
func (b *batch) add(ctx context.Context, entries []audit.Entry, size int64) error {
	for len(b.entries)+len(entries) > b.most && len(entries) > 0 {
		n := max(b.most-len(b.entries), 0)
		b.entries, entries = append(b.entries, entries[:n]...), entries[n:]
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.entries = append(b.entries, entries...)
	b.bytes += size
	if b.full() {
		return b.flush(ctx)
	}
	return nil
}

func (b *batch) full() bool { return len(b.entries) >= b.most || b.bytes >= maxBatchBytes }

// flush hands on what there is. On an error it stays, and flush may be tried again.
func (b *batch) flush(ctx context.Context) error {
	if len(b.entries) == 0 {
		b.bytes = 0
		return nil
	}
	first, err := b.sink.Append(ctx, b.entries)
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	if b.after != nil {
		b.after(b.entries, first)
	}
	b.entries, b.bytes = nil, 0 // the sink may keep them
	return nil
}
