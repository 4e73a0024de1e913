package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Source gives alerts in the order of the log.
type Source interface {
	// Next gives the first alert after a number, and waits for one.
	Next(ctx context.Context, after uint64) (*Alert, error)
}

// Place keeps how far a receiver has been told.
type Place interface {
	// Load gives the number of the last alert told, or 0.
	Load() (uint64, error)
	// Save is durable when it returns.
	Save(seq uint64) error
}

// Delivery tells one receiver.
type Delivery struct {
	Name     string
	Source   Source
	Receiver Receiver
	Place    Place
	Log      *slog.Logger
	// Wait is called between two attempts; it returns early with ctx.
	Wait func(ctx context.Context, d time.Duration) error
	// Failed is told of each attempt that failed, and of an alert that is given up.
	Failed func(a *Alert, givenUp bool, err error)
}

// How often a receiver that is away is tried: soon, then less and less.
const (
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
)

// Run tells the receiver until ctx ends or the source fails. A receiver that is away
// is tried for ever; an alert that it refuses is given up, loudly, so that it does
// not hold back the next.
func (d *Delivery) Run(ctx context.Context) error {
	seq, err := d.Place.Load()
	if err != nil {
		return fmt.Errorf("deliver alerts to %s: %w", d.Name, err)
	}
	for {
		a, err := d.Source.Next(ctx, seq)
		if err != nil {
			return d.ended(ctx, err)
		}
		if err := d.tell(ctx, a); err != nil {
			return d.ended(ctx, err)
		}
		seq = a.Seq
		if err := d.Place.Save(seq); err != nil {
			return fmt.Errorf("deliver alerts to %s: %w", d.Name, err)
		}
	}
}

func (d *Delivery) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was asked to end
	}
	return fmt.Errorf("deliver alerts to %s: %w", d.Name, err)
}

// tell tries until the receiver has the alert or refuses it.
func (d *Delivery) tell(ctx context.Context, a *Alert) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := d.Receiver.Tell(ctx, a)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // ended looks at ctx
		}
		givenUp := errors.Is(err, ErrRefused)
		d.Failed(a, givenUp, err)
		d.Log.LogAttrs(ctx, slog.LevelError, "alert not delivered", slog.String("receiver", d.Name), slog.String("alert", a.ID), slog.Uint64("seq", a.Seq),
			slog.Bool("givenUp", givenUp), slog.Any("error", err))
		if givenUp {
			return nil
		}
		if err := d.Wait(ctx, pause); err != nil {
			return err
		}
	}
}
