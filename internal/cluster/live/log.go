package live

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// demotedLog lets the client library write to log, at debug level only: what
// matters to an operator is logged by this package, once.
func demotedLog(log *slog.Logger) klog.Logger { return logr.FromSlogHandler(demoted{log.Handler()}) }

type demoted struct{ next slog.Handler }

// Enabled is for slog.Handler, like the others.
func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.next.Enabled(ctx, slog.LevelDebug)
}

// Handle passes a record on.
func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	if err := d.next.Handle(ctx, r); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// WithAttrs keeps the level down.
func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler { return demoted{d.next.WithAttrs(attrs)} }

// WithGroup keeps the level down.
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.next.WithGroup(name)} }
