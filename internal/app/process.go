package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/ops"
)

// stack is what must be stopped, last started first.
type stack []func(context.Context) error

func (s *stack) push(f func(context.Context) error) { *s = append(*s, f) }

func (s stack) stop(ctx context.Context) error {
	var err error
	for _, f := range slices.Backward(s) {
		err = errors.Join(err, f(ctx))
	}
	return err
}

// runProcess runs f until it returns, then stops what it started, last first.
// Stopping may take as long as drain.
func runProcess(ctx context.Context, env *Env, f *processFlags, drain time.Duration, fn func(context.Context, *slog.Logger, *stack) error) (err error) {
	log, err := newLog(env.Stderr, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	var running stack
	defer func() {
		// Whatever ended ctx must not cut the draining short.
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain+time.Second)
		defer cancel()
		err = errors.Join(err, running.stop(stopCtx))
	}()
	return fn(ctx, log, &running)
}

// certificateEvery is how often the files of a certificate are looked at.
const certificateEvery = 30 * time.Second

// serveTLS serves ln as parts, with a certificate that is renewed while it is in use.
// When ctx ends, requests in flight may take as long as drain.
func serveTLS(ctx context.Context, parts *errgroup.Group, what string, srv *http.Server, ln net.Listener, cert *ops.Certificate, drain time.Duration) {
	parts.Go(func() error {
		ticker := time.NewTicker(certificateEvery)
		defer ticker.Stop()
		cert.Watch(ctx, ticker.C)
		return nil
	})
	parts.Go(func() error {
		if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", what, err)
		}
		return nil
	})
	parts.Go(func() error {
		<-ctx.Done()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if err := srv.Shutdown(stopCtx); err != nil {
			return fmt.Errorf("drain %s: %w", what, err)
		}
		return nil
	})
}
