package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
)

// maxFields is the most bytes of a log line's fields that go into the trail.
const maxFields = 16 << 10

// Handler hands log lines on to next, and those of a level or above to the trail too:
// what a part of Bulwark tells its operator is what there is to know of it. The Sender's
// own log must not be one of these.
func (s *Sender) Handler(next slog.Handler, least slog.Level) slog.Handler {
	line := &line{}
	return &handler{next: next, least: least, to: s, line: line, fields: slog.NewJSONHandler(&line.text, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{} // the event has places for them
			}
			return a
		},
	})}
}

// line is the memory that fields are written in, by one goroutine at a time.
type line struct {
	mu   sync.Mutex
	text bytes.Buffer
}

type handler struct {
	next   slog.Handler
	least  slog.Level
	to     *Sender
	line   *line
	fields slog.Handler
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.least || h.next.Enabled(ctx, l)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= h.least {
		h.to.Tell(Notice{
			Time: r.Time, Action: "log", Failed: r.Level >= slog.LevelError, Reason: r.Level.String(), Message: r.Message, Fields: h.object(ctx, r),
		})
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r) //nolint:wrapcheck // as if it were asked itself
}

// object gives the fields of a record, or nothing where they are too many.
func (h *handler) object(ctx context.Context, r slog.Record) json.RawMessage {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.line.text.Reset()
	if err := h.fields.Handle(ctx, r); err != nil || h.line.text.Len() > maxFields || h.line.text.Len() <= len("{}\n") {
		return nil
	}
	return bytes.Clone(bytes.TrimSpace(h.line.text.Bytes()))
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next, c.fields = h.next.WithAttrs(attrs), h.fields.WithAttrs(attrs)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.fields = h.next.WithGroup(name), h.fields.WithGroup(name)
	return &c
}
