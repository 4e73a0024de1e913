package app

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit/log"
)

// heard says when something was logged.
type heard chan string

func (h heard) Write(b []byte) (int, error) {
	h <- string(b)
	return len(b), nil
}

func TestTrailIsWaitedFor(t *testing.T) {
	t.Parallel()
	env := &Env{Now: time.Now}
	folder := trailFolder{data: t.TempDir()}
	first, err := openTrail(t.Context(), env, &writerFlags{trailFolder: folder}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openTrail(t.Context(), env, &writerFlags{trailFolder: folder}, slog.New(slog.DiscardHandler)); !errors.Is(err, log.ErrLocked) {
		t.Errorf("without patience: %v", err)
	}
	said, opened := make(heard, 100), make(chan error)
	go func() {
		second, err := openTrail(t.Context(), env, &writerFlags{trailFolder: folder, patience: time.Hour}, slog.New(slog.NewTextHandler(said, nil)))
		if err == nil {
			err = second.close(t.Context())
		}
		opened <- err
	}()
	<-said // it found the first one there
	if err := first.close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if len(said) > 0 {
		t.Errorf("said again: %s", <-said)
	}
}
