package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// maxReason is the longest reason that somebody may give.
const maxReason = 2000

// ErrRefused is wrapped by errors of a request that cannot be done as it was asked.
var ErrRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// HoldRequest is a hold to be added.
type HoldRequest struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// Search is what to hold; "" is everything.
	Search string `json:"search,omitempty"`
}

// heldBy is a hold that stands, ready to be asked.
type heldBy struct {
	name   string
	match  func(*audit.Event) bool // nil holds everything
	listed *numbers.Set
}

// Holds gives all holds that the log ever had.
func (k *Keeper) Holds(ctx context.Context) (told.Holds, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	return append(told.Holds{}, k.holds...), nil
}

// AddHold adds a hold. When it returns, nothing that the hold matches is pruned or
// shredded any more, and what of it was going on has ended. The expression is kept with
// its times made absolute, so that it means the same ever after.
func (k *Keeper) AddHold(ctx context.Context, req HoldRequest, by told.Who) (told.Hold, error) {
	hold, err := k.addHold(ctx, req, by)
	if err != nil {
		return told.Hold{}, fmt.Errorf("add hold %.80q: %w", req.Name, err)
	}
	return hold, nil
}

func (k *Keeper) addHold(ctx context.Context, req HoldRequest, by told.Who) (told.Hold, error) {
	if !policy.IsName(req.Name) {
		return told.Hold{}, refuse("a name has at most 64 letters, digits, dots, dashes and underscores")
	}
	if err := checkReason(req.Reason); err != nil {
		return told.Hold{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx); err != nil {
		return told.Hold{}, err
	}
	for _, h := range k.holds.Standing() {
		if h.Name == req.Name {
			return told.Hold{}, refuse("it stands already, since %s", h.Since.Format("2006-01-02 15:04:05Z"))
		}
	}
	now := k.cfg.Log.cfg.Now()
	h := told.Hold{Name: req.Name, Reason: req.Reason, By: by}
	var matched *numbers.Set
	if strings.TrimSpace(req.Search) != "" {
		var err error
		if h.Search, _, err = k.cfg.Compile(req.Search, now); err != nil {
			return told.Hold{}, refuse("--search: %w", err)
		}
		if h.Search == "" {
			return told.Hold{}, refuse("--search: it finds everything: leave it out to hold everything")
		}
		if _, _, err := k.cfg.Compile(h.Search, now); err != nil {
			return told.Hold{}, refuse("--search: with its times made absolute it cannot be read again, so make it simpler: %w", err)
		}
		matched = &numbers.Set{}
		err = k.cfg.Find(ctx, h.Search, func(e *audit.Event) error { matched.Add(e.Seq); return nil })
		if ctx.Err() != nil {
			return told.Hold{}, ctx.Err()
		}
		if err != nil {
			h.Warning, matched = fmt.Sprintf("the events could not all be looked at: %v", err), nil
		} else {
			h.Matched = matched.Len()
		}
	} else {
		h.Matched = k.cfg.Log.Last()
	}
	return h, k.tell(ctx, h.Event(now, matched), &h)
}

// tell appends an event about a hold and takes it into account. What was begun is ended
// also when the caller goes away.
func (k *Keeper) tell(ctx context.Context, e *audit.Event, h *told.Hold) error {
	if _, err := k.cfg.Log.Append(context.WithoutCancel(ctx), []audit.Entry{{Event: e}}); err != nil {
		return err
	}
	k.holds.Read(e)
	for _, known := range k.holds {
		if known.Seq == e.Seq || known.Released == e.Seq {
			known.Warning = h.Warning
			*h = known
		}
	}
	return k.prepare()
}

// ReleaseHold ends a hold.
func (k *Keeper) ReleaseHold(ctx context.Context, name, reason string, by told.Who) (told.Hold, error) {
	hold, err := k.releaseHold(ctx, name, reason, by)
	if err != nil {
		return told.Hold{}, fmt.Errorf("release hold %.80q: %w", name, err)
	}
	return hold, nil
}

func (k *Keeper) releaseHold(ctx context.Context, name, reason string, by told.Who) (told.Hold, error) {
	if err := checkReason(reason); err != nil {
		return told.Hold{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx); err != nil {
		return told.Hold{}, err
	}
	for _, h := range k.holds.Standing() {
		if h.Name == name {
			return h, k.tell(ctx, h.Release(k.cfg.Log.cfg.Now(), reason, by), &h)
		}
	}
	return told.Hold{}, refuse("no such hold stands")
}

func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > maxReason || !utf8.ValidString(reason) {
		return refuse("a reason of at most %d bytes is required: it is kept for good", maxReason)
	}
	return nil
}

// ready finds out which holds there are, once: from then on only the keeper changes
// them. It needs k.mu.
func (k *Keeper) ready(ctx context.Context) error {
	if k.known {
		return nil
	}
	v, err := k.cfg.Log.View()
	if err != nil {
		return err
	}
	if k.holds, err = ReadHolds(ctx, v); err != nil {
		return err
	}
	if err := k.prepare(); err != nil {
		return err
	}
	k.known = true
	return nil
}

// prepare makes the holds that stand ready to be asked. One that cannot be read holds
// up everything, since nobody knows what it holds.
func (k *Keeper) prepare() error {
	k.known = false
	k.standing = nil
	for _, h := range k.holds.Standing() {
		by := heldBy{name: h.Name}
		var err error
		if h.Search != "" {
			if _, by.match, err = k.cfg.Compile(h.Search, h.Since); err != nil {
				return fmt.Errorf("hold %q of event %d cannot be read: %w", h.Name, h.Seq, err)
			}
		}
		if by.listed, _, err = h.Events(); err != nil {
			return err
		}
		k.standing = append(k.standing, by)
	}
	k.known = true
	return nil
}

// held gives the name of a hold that an event is under, or "". It needs k.mu.
func (k *Keeper) held(e *audit.Event) string {
	for i := range k.standing {
		h := &k.standing[i]
		if h.match == nil || h.listed.Has(e.Seq) || h.match(e) {
			return h.name
		}
	}
	return ""
}
