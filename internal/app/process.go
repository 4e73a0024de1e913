package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
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
