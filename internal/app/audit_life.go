package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/reconcile"
)

// lifeSource is the source of events about the process that serves a trail, and the
// verbs are what they tell. The rules of catalog/detections/trail know them.
const (
	lifeSource       = "serve"
	lifeStarted      = "started"
	lifeStopped      = "stopped"
	lifeRulesChanged = "rules-changed"
	lifeSilent       = "server-silent"
	lifeHeard        = "server-heard"
	lifeBlind        = "detections-down"
	lifeSees         = "detections-up"
	lifePartDown     = "part-down"
)

// lifeEvent makes an event of the trail's own life. A reason makes it a failure.
func lifeEvent(now time.Time, verb, reason, message string, notes map[string]string) *audit.Event {
	e := &audit.Event{
		Kind: audit.KindSystem, Source: lifeSource, Verb: verb, Received: now.UTC().Truncate(time.Microsecond),
		Status: audit.Status{Status: "Success", Reason: reason, Message: strings.ToValidUTF8(message, "\uFFFD")}, Annotations: notes,
	}
	if reason != "" {
		e.Status.Status = "Failure"
	}
	return e
}

// tell puts into the trail what became of it.
func (t *trail) tell(ctx context.Context, verb, reason, message string, notes map[string]string) error {
	_, err := t.log.Append(ctx, []audit.Entry{{Event: lifeEvent(t.now(), verb, reason, message, notes)}})
	return err //nolint:wrapcheck // it says what it was doing
}

// life is what one serving process leaves for the next.
type life struct {
	Running bool     `json:"running"` // it has not ended yet, or not well
	Rules   string   `json:"rules"`   // a digest
	Servers []string `json:"servers,omitempty"`
}

func (t *trail) lifeFile() string { return filepath.Join(t.dir, "detect", "life") }

func (t *trail) loadLife() (life, error) {
	var l life
	raw, err := os.ReadFile(t.lifeFile())
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		// What is not known is taken for the worse.
		return life{Running: true}, fmt.Errorf("read what the process before left: %w", err)
	}
	return l, nil
}

func (t *trail) saveLife(l life) error {
	raw, err := json.Marshal(l)
	if err == nil {
		err = proof.WriteFile(t.lifeFile(), raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("leave a note for the next process: %w", err)
	}
	return nil
}

// born tells that the trail is served from here on, with what, and how the process
// before ended. Nothing of it keeps anybody from recording.
func (t *trail) born(ctx context.Context, configuration, rules string, count int, logger *slog.Logger) life {
	was, err := t.loadLife()
	is := life{Running: true, Rules: rules, Servers: was.Servers}
	notes := map[string]string{
		"version": version(), "lastEvent": strconv.FormatUint(t.log.Last(), 10), "configuration": configuration, "publicKey": t.ledger.Verifier(),
		"rules": strconv.Itoa(count), "rulesDigest": rules,
	}
	reason, message := "", "the trail is served"
	if was.Running {
		reason, message = "NotStopped", "the trail is served again; the process before did not stop by itself: it was killed, or broke off, or the machine did"
	}
	err = errors.Join(err, t.tell(ctx, lifeStarted, reason, message, notes))
	if was.Rules != "" && was.Rules != rules {
		err = errors.Join(err, t.tell(ctx, lifeRulesChanged, "", "the detections are others than at the last start", map[string]string{"was": was.Rules, "is": rules, "rules": strconv.Itoa(count)}))
	}
	if err = errors.Join(err, t.saveLife(is)); err != nil {
		logger.LogAttrs(ctx, slog.LevelError, "the trail does not tell of its start", slog.Any("error", err))
	}
	return is
}

// buried tells that the process ends, when all its parts have.
func (t *trail) buried(ctx context.Context) error {
	l, err := t.loadLife()
	if err = errors.Join(err, t.tell(ctx, lifeStopped, "", "the trail is not served any more", nil)); err != nil {
		return err // the next process tells that this one did not stop well
	}
	l.Running = false
	return t.saveLife(l)
}

// configurationDigest tells one set of flags from another. Flags name files, and hold no
// secrets.
func configurationDigest(fl *pflag.FlagSet) string {
	h := sha256.New()
	fl.VisitAll(func(f *pflag.Flag) { _, _ = fmt.Fprintf(h, "%s=%q\n", f.Name, f.Value.String()) })
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// digest tells the rules that are read from others.
func (f *ruleFlags) digest() (string, error) {
	all, err := f.folders()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	add := func(name string, text []byte) { _, _ = fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(text)) }
	err = fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)) {
			return err
		}
		text, err := fs.ReadFile(all, name)
		if err != nil {
			return err //nolint:wrapcheck // said below
		}
		add(name, text)
		return nil
	})
	for _, name := range f.pipelines {
		text, wrong := os.ReadFile(name) // #nosec G304 -- the person who runs it names it
		err = errors.Join(err, wrong)
		add("pipeline", text)
	}
	if err != nil {
		return "", badUse(fmt.Errorf("read the rules: %w", err))
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// troubles are what the log told of and the trail does not tell yet: of each kind the
// last, and how many. The log calls add from within its writing, which must not wait.
type troubles struct {
	mu      sync.Mutex
	waiting map[string]trouble
	wake    chan struct{}
}

type trouble struct {
	log.Trouble
	count int
}

func newTroubles() *troubles {
	return &troubles{waiting: map[string]trouble{}, wake: make(chan struct{}, 1)}
}

func (q *troubles) add(t log.Trouble) {
	if t.What == log.TroubleFull {
		return // of which the log itself tells, in the room that it keeps for that
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[t.What] = trouble{t, q.waiting[t.What].count + 1}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *troubles) take() map[string]trouble {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.waiting
	q.waiting = map[string]trouble{}
	return out
}

// troubleEvery is how often the trail tells of troubles at most: writing of a failure to
// write may fail too.
const troubleEvery = 10 * time.Second

// confess tells in the trail what went wrong with it, until ctx ends.
func (t *trail) confess(ctx context.Context, logger *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.troubles.wake:
		}
		all := t.troubles.take()
		for _, what := range slices.Sorted(maps.Keys(all)) {
			one := all[what]
			err := t.tell(ctx, what, "Trouble", fmt.Sprintf("%s, %d times; the last: %v", troubleText(what), one.count, one.Err), map[string]string{"path": one.Path, "count": strconv.Itoa(one.count)})
			if err != nil && ctx.Err() == nil {
				logger.LogAttrs(ctx, slog.LevelError, "the trail does not tell of a trouble", slog.String("trouble", what), slog.Any("error", err))
			}
		}
		if pause(ctx, troubleEvery) != nil {
			return nil //nolint:nilerr // it was asked to end
		}
	}
}

// troubleText says what a trouble of the log means.
func troubleText(what string) string {
	switch what {
	case log.TroubleWrite:
		return "events could not be written and were refused"
	case log.TroubleSeal:
		return "events could not be sealed; it is tried again"
	case log.TroubleMissing:
		return "sealed events are gone"
	case log.TroubleReserve:
		return "no room could be kept for the time when the disk is full"
	case log.TroubleSummary:
		return "a segment could not be added to the summary of segments; searches open it each time"
	case log.TroublePlain:
		return "files of an encrypted trail are not encrypted"
	case log.TroubleKey:
		return "openings of redacted values could not be decrypted and are lost"
	}
	return what
}

// pause waits, and ends early with ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller looks at it
	case <-timer.C:
		return nil
	}
}

// How soon a part that broke off is begun again.
const (
	partFirst = time.Second
	partMost  = 5 * time.Minute
)

// part runs something beside the recording, again and again if it breaks off: it must
// not end the recording. Only ctx ends it.
func (t *trail) part(ctx context.Context, name string, logger *slog.Logger, run func(context.Context) error) error {
	wait := func(ctx context.Context, d time.Duration) error { return pause(ctx, d) }
	return t.partWith(ctx, name, logger, run, wait)
}

func (t *trail) partWith(ctx context.Context, name string, logger *slog.Logger, run func(context.Context) error, wait func(context.Context, time.Duration) error) error {
	told := ""
	for d := partFirst; ; d = min(2*d, partMost) {
		began := t.now()
		err := fenced(ctx, run)
		if ctx.Err() != nil {
			return err
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		if t.now().Sub(began) > partMost {
			d = partFirst
		}
		logger.LogAttrs(ctx, slog.LevelError, "a part of the trail broke off and is begun again", slog.String("part", name), slog.Duration("after", d), slog.Any("error", err))
		if text := err.Error(); text != told {
			if err := t.tell(ctx, lifePartDown, "Failed", name+" broke off and is begun again: "+text, map[string]string{"part": name}); err == nil {
				told = text
			}
		}
		if wait(ctx, d) != nil {
			return nil //nolint:nilerr // it was asked to end
		}
	}
}

// fenced makes a panic an error.
func fenced(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	return run(ctx)
}

// hearing is a sink that notes which API servers are heard, also while it is full.
type hearing struct {
	ingest.Sink
	servers *reconcile.Servers
	now     func() time.Time
}

// Append keeps entries.
func (h hearing) Append(ctx context.Context, entries []audit.Entry) (uint64, error) {
	last := ""
	for _, e := range entries {
		if e.Event.Kind == audit.KindAPI && e.Event.Source != last {
			last = e.Event.Source
			h.servers.Hear(last, h.now())
		}
	}
	return h.Sink.Append(ctx, entries) //nolint:wrapcheck // it says what it was doing
}

// listen tells when API servers fall silent and when they are heard again, until ctx
// ends.
func (t *trail) listen(ctx context.Context, servers *reconcile.Servers, every time.Duration, is life, logger *slog.Logger) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, c := range servers.Check(t.now()) {
			verb, reason, level := lifeHeard, "", slog.LevelInfo
			if c.Silent {
				verb, reason, level = lifeSilent, "Silent", slog.LevelWarn
			}
			logger.LogAttrs(ctx, level, "API server", slog.String("server", c.Server), slog.Bool("silent", c.Silent), slog.String("summary", c.Summary))
			err := t.tell(ctx, verb, reason, c.Summary, map[string]string{"server": c.Server, "for": c.For.Round(time.Second).String()})
			if err != nil && ctx.Err() == nil {
				logger.LogAttrs(ctx, slog.LevelError, "the trail does not tell of an API server", slog.String("server", c.Server), slog.Any("error", err))
			}
		}
		if learned := servers.Learned(); !slices.Equal(learned, is.Servers) {
			is.Servers = learned
			if err := t.saveLife(is); err != nil {
				logger.LogAttrs(ctx, slog.LevelError, "API servers are not remembered", slog.Any("error", err))
			}
		}
	}
}
