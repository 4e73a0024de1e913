package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// writerFlags are the settings of who writes a trail.
type writerFlags struct {
	trailFolder
	origin       string
	openings     string
	dropOpenings bool
	keepRedacted bool
	sealEvents   int
	sealAge      time.Duration
	quarantine   bool
	cluster      string
	rules        ruleFlags
	// kept are checkpoints of this trail that were kept elsewhere.
	kept [][]byte
	// patience is how long another process may go on writing the trail.
	patience time.Duration
}

func (f *writerFlags) add(fl *pflag.FlagSet) {
	f.trailFolder.add(fl)
	fl.StringVar(&f.origin, "origin", "", "name of the trail for checkpoints, like example.com/audit; it cannot be changed later (default: one is made up)")
	fl.StringVar(&f.openings, "openings-key", "", "file with the key that openings of redacted values are encrypted with (default: keys/openings.key in the folder, which is made)")
	fl.BoolVar(&f.dropOpenings, "drop-openings", false, "keep no openings: nobody can ever show what a redacted value was")
	fl.BoolVar(&f.keepRedacted, "keep-redacted", false, "keep redacted values in the openings, not only their salts")
	fl.IntVar(&f.sealEvents, "seal-events", 0, "seal a segment when it has so many events (default 65536)")
	fl.DurationVar(&f.sealAge, "seal-age", 0, "seal a segment when it is so old (default 1m)")
	fl.BoolVar(&f.quarantine, "quarantine", false, "set a damaged part of the unsealed trail aside and go on; without it a damaged trail is refused")
	fl.StringVar(&f.cluster, "cluster", "", "name of the cluster that events come from, where they do not say")
	f.rules.add(fl)
}

func (f *writerFlags) check() error {
	if err := f.trailFolder.check(); err != nil {
		return err
	}
	if f.dropOpenings && (f.openings != "" || f.keepRedacted) {
		return badUse(errors.New("--drop-openings keeps nothing that --openings-key or --keep-redacted could be for"))
	}
	return nil
}

// trail is an open trail: what writes it, and what makes its events.
type trail struct {
	dir    string
	log    *log.Log
	ledger *proof.Ledger
	redact *redact.Redactor
	now    func() time.Time
	keys   vault.Keys
	f      *writerFlags
	// sink takes events from outside: the log, or what stands before it.
	sink ingest.Sink
	// troubles are what the log told of that the trail does not tell yet.
	troubles *troubles
	// keeping takes away what need not be kept, and holds what must.
	keeping *keeping
	// undelivered, where set, is told of each attempt to tell a receiver that failed.
	undelivered func(receiver string, givenUp bool)
}

// recentEvents are held in memory for the detections, which are seldom further behind.
const recentEvents = 1 << 14

// openTrail takes the trail for this process.
func openTrail(ctx context.Context, env *Env, f *writerFlags, logger *slog.Logger) (_ *trail, err error) {
	t := &trail{dir: f.data, now: env.Now, f: f, troubles: newTroubles()}
	if t.redact, err = redact.New(rand.Reader, f.keepRedacted); err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	for _, part := range []string{"", "detect", "tail"} {
		if err := os.MkdirAll(filepath.Join(f.data, part), 0o700); err != nil {
			return nil, badUse(fmt.Errorf("make the folder of the trail: %w", err))
		}
	}
	if t.keys, err = f.keys(); err != nil {
		return nil, err
	}
	f.warnOfOpenings(t.keys, logger)
	key, err := f.openingsKey()
	if err != nil {
		return nil, badUse(err)
	}
	t.log, err = openLog(ctx, env, f.patience, logger, log.Config{
		Dir: filepath.Join(f.data, "log"), Key: key, DropOpenings: f.dropOpenings, Keys: t.keys, SealEvents: f.sealEvents, SealAge: f.sealAge, Quarantine: f.quarantine,
		Recent: recentEvents, Now: env.Now, Random: rand.Reader, Logger: logger, OnTrouble: t.troubles.add,
		OpenLedger: func(ctx context.Context) (log.Ledger, error) {
			var err error
			t.ledger, err = proof.OpenLedger(ctx, proof.LedgerConfig{Dir: f.data, Origin: f.origin, Kept: f.kept})
			return t.ledger, err //nolint:wrapcheck // it says what it was doing
		},
	})
	if err != nil {
		return nil, badUse(err)
	}
	t.sink = t.log
	if t.keeping, err = newKeeping(t); err != nil {
		return nil, errors.Join(err, t.log.Close())
	}
	return t, nil
}

// openLog opens the log. It waits that long for another process that writes it: a command
// that will be done in a moment, or the server whose place this one takes.
func openLog(ctx context.Context, env *Env, patience time.Duration, logger *slog.Logger, cfg log.Config) (*log.Log, error) {
	until := env.Now().Add(patience)
	for told := false; ; told = true {
		l, err := log.Open(ctx, cfg)
		if !errors.Is(err, log.ErrLocked) || !env.Now().Before(until) {
			return l, err //nolint:wrapcheck // it says what it was doing
		}
		if !told {
			logger.WarnContext(ctx, "another process writes the trail: waiting for it", slog.String("folder", cfg.Dir), slog.Duration("at_most", patience))
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// decoder makes the decoder of one source.
func (t *trail) decoder(source string) *ingest.Decoder {
	return &ingest.Decoder{Source: source, Cluster: t.f.cluster, Now: t.now, Redact: t.redact.Redact}
}

// close seals what is not sealed and gives the trail free.
func (t *trail) close(ctx context.Context) error {
	return errors.Join(t.log.Seal(ctx), t.log.Close()) // which closes the ledger too
}

// openingsKey reads the key of openings, and makes it for a new trail. A trail that has
// lost its key is refused: a new one would make the old openings unreadable in silence.
func (f *writerFlags) openingsKey() (bulwark.Secret, error) {
	if f.dropOpenings {
		return bulwark.Secret{}, nil
	}
	file := f.openings
	if file == "" {
		file = filepath.Join(f.data, "keys", "openings.key")
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
	if errors.Is(err, fs.ErrNotExist) && f.openings == "" {
		old, globErr := filepath.Glob(filepath.Join(f.data, "log", "openings", "*"))
		if globErr != nil || len(old) > 0 {
			return bulwark.Secret{}, fmt.Errorf("%s is missing, but there are openings: put the key back, or take the folder log/openings away to give them up", file)
		}
		if err := newOpeningsKey(file); err != nil {
			return bulwark.Secret{}, err
		}
		text, err = os.ReadFile(file) // #nosec G304 -- the folder's own key
	}
	if err != nil {
		return bulwark.Secret{}, fmt.Errorf("read the key of openings: %w", err)
	}
	key, err := hex.DecodeString(string(trimLine(text)))
	if err != nil || len(key) != log.KeySize {
		return bulwark.Secret{}, fmt.Errorf("read the key of openings: %s has no %d bytes in hexadecimal", file, log.KeySize)
	}
	return bulwark.NewSecret(key), nil
}

// newOpeningsKey makes the key, or leaves the one that another process was quicker to
// make: the log is not locked yet, and both must go on with the same.
func newOpeningsKey(file string) error {
	key := make([]byte, log.KeySize)
	_, _ = rand.Read(key) // it never fails
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make the key of openings: %w", err)
	}
	mine := file + "." + rand.Text()
	err := proof.WriteFile(mine, []byte(hex.EncodeToString(key)+"\n"), 0o600)
	if err == nil {
		if err = os.Link(mine, file); errors.Is(err, fs.ErrExist) {
			err = nil
		}
		err = errors.Join(err, os.Remove(mine))
	}
	if err != nil {
		return fmt.Errorf("make the key of openings: %w", err)
	}
	return nil
}

// trimLine takes the end of a line away.
func trimLine(text []byte) []byte {
	for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	return text
}
