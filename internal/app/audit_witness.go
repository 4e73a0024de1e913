package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	// archives are where the sealed trail is copied to.
	archives []string
	url      string
	key      string
	ca       string
}

func (f *witnessFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.copies, "keep-checkpoint", nil, "file, or folder, elsewhere that the newest checkpoint is written to; may be repeated")
	fl.StringArrayVar(&f.archives, "archive", nil, "folder, or s3://BUCKET/PREFIX, that sealed segments and the ledger are copied to (see bulwark audit archive); may be repeated")
	fl.StringVar(&f.url, "witness-url", "", "C2SP witness that signs checkpoints: its submission prefix, without /add-checkpoint")
	fl.StringVar(&f.key, "witness-key", "", "file with that witness's verifier key")
	fl.StringVar(&f.ca, "witness-ca-file", "", "authorities of that witness's certificate (default: the system's)")
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
	for _, to := range f.archives {
		a, err := openArchive(to)
		if err != nil {
			return nil, fmt.Errorf("--archive: %w", err)
		}
		out["archive "+to] = a
	}
	if (f.url == "") != (f.key == "") {
		return nil, errors.New("--witness-url and --witness-key go together")
	}
	if f.url == "" && f.ca != "" {
		return nil, errors.New("--witness-ca-file goes with --witness-url")
	}
	if f.url != "" {
		way, err := f.way()
		if err != nil {
			return nil, err
		}
		key, err := os.ReadFile(f.key)
		if err != nil {
			return nil, fmt.Errorf("--witness-key: %w", err)
		}
		client, err := witness.NewClient(f.url, string(trimLine(key)), way)
		if err != nil {
			return nil, fmt.Errorf("--witness-url: %w", err)
		}
		out[f.url] = client
	}
	return out, nil
}

// way is how the witness is reached.
func (f *witnessFlags) way() (*http.Client, error) {
	out := &http.Client{Timeout: witnessTimeout}
	if f.ca == "" {
		return out, nil
	}
	text, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--witness-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--witness-ca-file: no certificate in %s", f.ca)
	}
	out.Transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, IdleConnTimeout: time.Minute,
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

// testify gives checkpoints to one keeper until ctx ends. One that contradicts what the
// keeper knows is told as loudly as can be; the trail goes on, as it is evidence itself.
func (t *trail) testify(ctx context.Context, name string, k keeper, log *slog.Logger) {
	tick := time.NewTicker(witnessEvery)
	defer tick.Stop()
	for {
		if err := k.Keep(ctx, t.dir); err != nil && ctx.Err() == nil {
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
