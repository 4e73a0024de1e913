package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spf13/pflag"

	"bulwark.dev/bulwark/internal/audit/proof/witness"
)

// witnessFlags say who else is to know the log's checkpoints.
type witnessFlags struct {
	copies []string
	url    string
	key    string
}

func (f *witnessFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.copies, "keep-checkpoint", nil, "file, or folder, elsewhere that the newest checkpoint is written to; may be repeated")
	fl.StringVar(&f.url, "witness-url", "", "C2SP witness that signs checkpoints: its submission prefix, without /add-checkpoint")
	fl.StringVar(&f.key, "witness-key", "", "file with that witness's verifier key")
}

// keeper makes a checkpoint known to somebody.
type keeper interface {
	Keep(ctx context.Context, dir string) error
}

// witnessEvery is how often checkpoints are given away. A checkpoint changes when a
// segment is sealed; giving the same one again costs little.
const witnessEvery = 20 * time.Second

// witnessTimeout bounds one request to a witness.
const witnessTimeout = 15 * time.Second

func (f *witnessFlags) keepers() (map[string]keeper, error) {
	out := map[string]keeper{}
	for _, path := range f.copies {
		out[path] = witness.File{Path: path}
	}
	if (f.url == "") != (f.key == "") {
		return nil, errors.New("--witness-url and --witness-key go together")
	}
	if f.url != "" {
		key, err := os.ReadFile(f.key)
		if err != nil {
			return nil, fmt.Errorf("--witness-key: %w", err)
		}
		client, err := witness.NewClient(f.url, string(trimLine(key)), &http.Client{Timeout: witnessTimeout})
		if err != nil {
			return nil, fmt.Errorf("--witness-url: %w", err)
		}
		out[f.url] = client
	}
	return out, nil
}

// kept gives the checkpoints that were kept before: a trail that does not begin with
// what they signed is refused.
func (f *witnessFlags) kept() ([][]byte, error) {
	var out [][]byte
	for _, path := range f.copies {
		texts, err := witness.Kept(path)
		if err != nil {
			return nil, fmt.Errorf("--keep-checkpoint: %w", err)
		}
		out = append(out, texts...)
	}
	return out, nil
}

// testify gives checkpoints away until ctx ends. One that contradicts what a witness
// knows is told as loudly as can be; the trail goes on, as it is evidence itself.
func (t *trail) testify(ctx context.Context, who map[string]keeper, log *slog.Logger) {
	tick := time.NewTicker(witnessEvery)
	defer tick.Stop()
	for {
		for name, k := range who {
			err := k.Keep(ctx, t.dir)
			if err == nil || ctx.Err() != nil {
				continue
			}
			severe := errors.Is(err, witness.ErrAhead) || errors.Is(err, witness.ErrForked)
			log.LogAttrs(ctx, slog.LevelError, "checkpoint not kept", slog.String("by", name), slog.Bool("trailContradicted", severe), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
