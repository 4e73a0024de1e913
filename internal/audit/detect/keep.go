package detect

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// KeepConfig is how Keep runs. All but those of RunConfig that may be left out is
// required.
type KeepConfig struct {
	RunConfig
	// Engine makes an engine that has observed nothing; it is called for each start.
	Engine func() (*Engine, error)
	// Wait is called between two attempts; it returns early with ctx.
	Wait func(ctx context.Context, d time.Duration) error
	// Down is told why detections do not run, after each attempt; Up when they do.
	Down func(ctx context.Context, err error)
	Up   func()
}

// How soon detections that ended are started again: soon, then less and less.
const (
	againFirst = time.Second
	againMost  = 5 * time.Minute
)

// Keep is Run, begun again whenever it fails: what is recorded must not depend on what
// looks at it. It returns when ctx ends, with the error of the last save.
func Keep(ctx context.Context, source Source, sink Sink, store Store, config KeepConfig) error {
	if config.Engine == nil || config.Wait == nil || config.Down == nil || config.Up == nil || config.Now == nil {
		return errors.New("keep detections running: an engine, a clock and what to tell are required")
	}
	pause, wasUp := againFirst, false
	run := config.RunConfig
	run.OnStart = func() {
		wasUp = true
		config.Up()
		if config.OnStart != nil {
			config.OnStart()
		}
	}
	for {
		wasUp = false
		began := config.Now()
		err := once(ctx, source, sink, store, config.Engine, run)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if wasUp && config.Now().Sub(began) > againMost {
			pause = againFirst
		}
		config.Down(ctx, err)
		if config.Wait(ctx, pause) != nil {
			return nil //nolint:nilerr // it was asked to end
		}
		pause = min(2*pause, againMost)
	}
}

// once is one Run, whose panics are errors.
func once(ctx context.Context, source Source, sink Sink, store Store, engines func() (*Engine, error), config RunConfig) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("run detections: panic: %v", fault)
		}
	}()
	engine, err := engines()
	if err != nil {
		return fmt.Errorf("make the rules ready: %w", err)
	}
	return Run(ctx, source, sink, engine, store, config)
}
