package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/control"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// The verbs of the control socket by which commands take away and hold.
const (
	verbHoldAdd     = "hold-add"
	verbHoldRelease = "hold-release"
	verbRetain      = "retain"
	verbShred       = "shred"
)

// keeping takes away what need not be kept any more, and holds what must.
type keeping struct {
	t      *trail
	keeper *log.Keeper
}

func newKeeping(t *trail) (*keeping, error) {
	k := &keeping{t: t}
	var err error
	k.keeper, err = log.NewKeeper(log.KeeperConfig{Log: t.log, Record: k.record, Compile: compileSearch, Find: k.find})
	return k, err //nolint:wrapcheck // it says what it was doing
}

// record finds the ledger's record of the segment that has an event.
func (k *keeping) record(_ context.Context, seq uint64) (proof.Record, error) {
	now, err := k.t.ledger.Checkpoint()
	if err != nil {
		return proof.Record{}, err //nolint:wrapcheck // it says what it was doing
	}
	record, _, err := proof.NewFiles(os.DirFS(proof.LedgerPath(k.t.dir))).Find(seq, now.Size)
	return record, err //nolint:wrapcheck // likewise
}

// compileSearch reads conditions: what they are with absolute times, and their test.
func compileSearch(text string, now time.Time) (string, func(*audit.Event) bool, error) {
	q, err := query.Parse(text, query.Env{Now: now})
	if err != nil {
		return "", nil, err //nolint:wrapcheck // it says what is wrong and where
	}
	if q.Groups() {
		return "", nil, errors.New("expected conditions, and not what is to be counted")
	}
	return q.String(), q.Matcher().Match, nil
}

// searchTest is compileSearch for a policy that is only looked at.
func searchTest(text string) (func(*audit.Event) bool, error) {
	is, match, err := compileSearch(text, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	if later, _, err := compileSearch(text, time.Unix(0, 0).AddDate(0, 0, 3)); err != nil || later != is {
		return nil, errors.New("its times must not be counted from now: keep says how old events may be")
	}
	return match, nil
}

// find gives every event that an expression finds.
func (k *keeping) find(ctx context.Context, text string, fn func(*audit.Event) error) error {
	q, err := query.Parse(text, query.Env{Now: k.t.now()})
	if err != nil {
		return err //nolint:wrapcheck // it says what is wrong and where
	}
	v, err := k.t.log.View()
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	all, err := search.Trail(v)
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	_, err = search.Search(ctx, all, q, search.Options{OldestFirst: true, Workers: runtime.GOMAXPROCS(0)}, fn)
	return err //nolint:wrapcheck // likewise
}

// releaseRequest ends a hold.
type releaseRequest struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// retainRequest applies a policy.
type retainRequest struct {
	File   string `json:"file"` // for what is wrong with it
	Policy string `json:"policy"`
	DryRun bool   `json:"dryRun"`
}

// retainAnswer is what came of it, and what went wrong after it began.
type retainAnswer struct {
	log.Retained

	Problem string `json:"problem,omitempty"`
}

// do performs a verb for somebody.
func (k *keeping) do(ctx context.Context, verb string, who told.Who, raw json.RawMessage) (any, error) {
	result, err := k.perform(ctx, verb, who, raw)
	if errors.Is(err, log.ErrRefused) {
		err = control.Refuse(err)
	}
	return result, err
}

func (k *keeping) perform(ctx context.Context, verb string, who told.Who, raw json.RawMessage) (any, error) {
	switch verb {
	case verbHoldAdd:
		var q log.HoldRequest
		if err := control.Decode(raw, &q); err != nil {
			return nil, err //nolint:wrapcheck // it says what it was doing
		}
		return k.keeper.AddHold(ctx, q, who) //nolint:wrapcheck // likewise
	case verbHoldRelease:
		var q releaseRequest
		if err := control.Decode(raw, &q); err != nil {
			return nil, err //nolint:wrapcheck // likewise
		}
		return k.keeper.ReleaseHold(ctx, q.Name, q.Reason, who) //nolint:wrapcheck // likewise
	case verbShred:
		var q log.ShredRequest
		if err := control.Decode(raw, &q); err != nil {
			return nil, err //nolint:wrapcheck // likewise
		}
		return k.keeper.Shred(ctx, q, who) //nolint:wrapcheck // likewise
	case verbRetain:
		var q retainRequest
		if err := control.Decode(raw, &q); err != nil {
			return nil, err //nolint:wrapcheck // likewise
		}
		policy, err := policy.Parse(q.File, []byte(q.Policy))
		if err != nil {
			return nil, control.Refuse(err) //nolint:wrapcheck // likewise
		}
		done, err := k.keeper.Retain(ctx, log.RetainOptions{Policy: policy, By: who, DryRun: q.DryRun})
		if err != nil && (errors.Is(err, log.ErrRefused) || done.Of == 0) {
			return nil, fmt.Errorf("%s: %w", q.File, err)
		}
		answer := retainAnswer{Retained: done}
		if err != nil {
			answer.Problem = err.Error()
		}
		return answer, nil
	}
	return nil, control.Refuse(fmt.Errorf("%q is no verb", verb)) //nolint:wrapcheck // there is nothing to add
}

// handle answers the verbs in the process that writes the trail.
func (k *keeping) handle(srv *control.Server) {
	for _, verb := range []string{verbHoldAdd, verbHoldRelease, verbRetain, verbShred} {
		srv.Handle(verb, func(ctx context.Context, raw json.RawMessage) (any, error) {
			uid, ok := control.Caller(ctx)
			if !ok {
				uid = os.Getuid() // nobody else but root can open the socket
			}
			return k.do(ctx, verb, whoIs(uid), raw)
		})
	}
}

// whoIs names a user of this machine.
func whoIs(uid int) told.Who {
	who := told.Who{Name: "uid " + strconv.Itoa(uid), ID: strconv.Itoa(uid)}
	if u, err := user.LookupId(who.ID); err == nil {
		who.Name = u.Username
	}
	return who
}

// keepFlags are the settings of the commands that take away or hold.
type keepFlags struct {
	writerFlags

	format string
}

func (f *keepFlags) add(fl *pflag.FlagSet) {
	f.trailFolder.add(fl)
	fl.StringVar(&f.openings, "openings-key", "", "file with the key of openings, where the commands write the trail themselves and it is not in the folder")
	fl.StringVarP(&f.format, "output", "o", "table", "form of the result: table or json")
}

// ask lets the server of the trail do something or, where none runs, does it here.
func (f *keepFlags) ask(ctx context.Context, env *Env, verb string, request, result any) error {
	if err := oneOf("output", f.format, "table", "json"); err != nil {
		return badUse(err)
	}
	if err := f.check(); err != nil {
		return err
	}
	err := control.Call(ctx, f.data, verb, request, result)
	unreachable := err
	if errors.Is(err, control.ErrNoServer) || errors.Is(err, control.ErrPathTooLong) {
		err = f.alone(ctx, env, verb, request, result)
	}
	if errors.Is(err, log.ErrLocked) {
		return badUse(fmt.Errorf("%w; its control socket cannot be reached: %w", err, unreachable))
	}
	if control.Refused(err) {
		return badUse(err)
	}
	return err
}

// alone opens the trail and does it.
func (f *keepFlags) alone(ctx context.Context, env *Env, verb string, request, result any) (err error) {
	if _, err := os.Stat(filepath.Join(f.data, "log")); errors.Is(err, fs.ErrNotExist) {
		return badUse(fmt.Errorf("%s has no trail: %w", f.data, err))
	}
	if err := f.dropsOpenings(); err != nil {
		return err
	}
	logger, err := newLog(env.Stderr, "text", "warn")
	if err != nil {
		return err
	}
	klog.SetSlogLogger(logger) // the transparency log's own lines
	t, err := openTrail(ctx, env, &f.writerFlags, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(context.WithoutCancel(ctx))) }()
	raw, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	answer, err := t.keeping.do(ctx, verb, whoIs(os.Getuid()), raw)
	if err != nil {
		return err
	}
	if raw, err = json.Marshal(answer); err == nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	return nil
}

// dropsOpenings finds out whether the trail keeps openings, so that one without does not
// get a key.
func (f *keepFlags) dropsOpenings() error {
	if f.openings != "" {
		return nil
	}
	_, err := os.Stat(filepath.Join(f.data, "keys", "openings.key"))
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it is told when it is read
	}
	there, err := filepath.Glob(filepath.Join(f.data, "log", "openings", "*"))
	if err != nil {
		return fmt.Errorf("look for openings: %w", err)
	}
	f.dropOpenings = len(there) == 0
	return nil
}
