// Package reconcile compares two records of the same requests: what Bulwark let
// through to an API server, and what that API server says it was asked. Bulwark
// stamps each request with an audit id of its own, which joins the two one to one.
//
// What stands on one side only is what someone hides: a request that went around
// Bulwark (bypass), a record that never arrived (suppression), and a stamp that
// Bulwark did not make (forgery). Servers says which API server falls silent.
//
// What it cannot see: a request that went around Bulwark and is in no record at all,
// and one under a stamp that Bulwark gave for the same method and path a moment before
// if the record of Bulwark's own request was suppressed in its place.
package reconcile

import (
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Config says whom to compare. Stamp, Grace and Most are required.
type Config struct {
	// Stamp is how the audit ids that Bulwark makes begin.
	Stamp string
	// Proxy is the user as which Bulwark speaks to the API server. Where it is empty,
	// Bulwark passes on what callers show, and their requests are told by the stamp alone.
	Proxy string
	// Direct are the users that may speak to the API server themselves: names, or the
	// beginning of names and a star. Users whose name begins with "system:", other than
	// Proxy, may always.
	Direct []string
	// Unrecorded are paths that the API servers' audit policy leaves out, or the beginning
	// of paths and a star: nobody is missed who is not told of there.
	Unrecorded []string
	// Grace is how much later than one side the other may come.
	Grace time.Duration
	// Most is how many requests may wait for their other side; beyond it the oldest are
	// judged early, and Reconciler.Early counts them.
	Most int
}

// Kind says what is wrong.
type Kind string

// What may be wrong.
const (
	Bypass      Kind = "bypass"      // a user who should come through Bulwark did not
	Suppression Kind = "suppression" // Bulwark let a request through that the server does not tell of
	Forgery     Kind = "forgery"     // the server tells of a stamped request that Bulwark did not let through, or of another
	Reuse       Kind = "reuse"       // one audit id for two different requests
)

// Finding is one disagreement.
type Finding struct {
	Kind Kind
	Time time.Time
	// Actor is who is behind it, where that is known.
	Actor string
	// Summary says it in one sentence.
	Summary string
	// Evidence are the numbers of the events that show it.
	Evidence []uint64
}

// side is what one record says of a request.
type side struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Source  string    `json:"source"`
	Actor   string    `json:"actor"`
	Request string    `json:"request"`
	// Verb, or the method of a request through the gateway, and Path, as it was sent.
	Verb   string `json:"verb"`
	Path   string `json:"path"`
	Method bool   `json:"method,omitempty"`
	// Asked is when the request came in, as its teller says: another record of the same
	// request has the same.
	Asked time.Time `json:"asked"`
	// Unsure says that the other side may rightly never come.
	Unsure bool `json:"unsure,omitempty"`
}

// pair is a request that waits for its other side, or that had both.
type pair struct {
	ID      string `json:"id"`
	Bulwark *side  `json:"bulwark,omitempty"`
	Server  *side  `json:"server,omitempty"`
}

// Reconciler compares as events come. It is not for several goroutines at once.
type Reconciler struct {
	cfg   Config
	now   time.Time // the latest time that an event was received
	order *list.List
	byID  map[string]*list.Element // of *pair, oldest first
	early uint64
}

// New gives a Reconciler that has seen nothing.
func New(cfg Config) (*Reconciler, error) {
	if cfg.Stamp == "" || cfg.Grace <= 0 || cfg.Most <= 0 {
		return nil, errors.New("reconcile: stamp, grace and most are required")
	}
	return &Reconciler{cfg: cfg, order: list.New(), byID: map[string]*list.Element{}}, nil
}

// Early is how many requests were judged before their grace was over, because too
// many waited.
func (r *Reconciler) Early() uint64 { return r.early }

// Observe takes the next event of the log.
func (r *Reconciler) Observe(e *audit.Event, found func(Finding)) {
	r.Tick(e.Received, found)
	switch e.Kind {
	case audit.KindAccess:
		if strings.HasPrefix(e.AuditID, r.cfg.Stamp) && e.Status.Reason != refused {
			r.join(e.AuditID, sideOf(e), e, false, found)
		}
	case audit.KindGateway:
		if id, mine := r.throughGateway(e); strings.HasPrefix(id, r.cfg.Stamp) {
			r.join(id, mine, e, false, found)
		}
	case audit.KindAPI:
		stamped := strings.HasPrefix(e.AuditID, r.cfg.Stamp)
		switch {
		case e.Stage == "RequestReceived" || e.Stage == "ResponseStarted" && stamped: // Bulwark tells of a request at its end
		case stamped:
			r.join(e.AuditID, sideOf(e), e, true, found)
		case r.cfg.Proxy != "" && e.User.Username == r.cfg.Proxy:
			found(Finding{
				Kind: Forgery, Time: e.Time(), Actor: e.Actor().Username, Evidence: []uint64{e.Seq},
				Summary: fmt.Sprintf("%s was asked of the API server as Bulwark's own user, without Bulwark's audit id: someone else holds its credential", request(e)),
			})
		case e.User.Username == "" && e.Status.Code == 401: // nobody was let in
		case !r.direct(e.User.Username):
			found(Finding{
				Kind: Bypass, Time: e.Time(), Actor: e.Actor().Username, Evidence: []uint64{e.Seq},
				Summary: fmt.Sprintf("%s asked the API server for %s directly, not through Bulwark", e.User.Username, request(e)),
			})
		}
	case audit.KindAlert, audit.KindAction, audit.KindSystem: // nobody's requests
	}
}

// refused is the reason of a request that Bulwark did not let through.
const refused = "Refused"

// Tick tells what time it is, so that what does not come is noticed. Times that are
// earlier than one before are passed over: after a clock went back, the grace of what
// waits then is longer by as much.
func (r *Reconciler) Tick(now time.Time, found func(Finding)) {
	if !now.After(r.now) {
		return
	}
	r.now = now
	for front := r.order.Front(); front != nil; front = r.order.Front() {
		p := front.Value.(*pair) //nolint:forcetypeassert // the list holds nothing else
		if first := p.first(); now.Sub(first.At) <= r.cfg.Grace {
			break
		}
		r.end(front, found)
	}
}

func (p *pair) first() *side {
	switch {
	case p.Bulwark == nil:
		return p.Server
	case p.Server == nil || p.Bulwark.At.Before(p.Server.At):
		return p.Bulwark
	}
	return p.Server
}

// join adds one side of a request. Requests stay known until their grace is over,
// so that a second use of an id is seen.
func (r *Reconciler) join(id string, mine *side, e *audit.Event, server bool, found func(Finding)) {
	mine.At = r.now // which, unlike the time of an event, never goes back
	at, ok := r.byID[id]
	if !ok {
		p := &pair{ID: id}
		p.set(server, mine)
		r.byID[id] = r.order.PushBack(p)
		if r.order.Len() > r.cfg.Most {
			r.early++
			r.end(r.order.Front(), found)
		}
		return
	}
	p := at.Value.(*pair) //nolint:forcetypeassert // the list holds nothing else
	was, other := p.sides(server)
	switch {
	case was != nil:
		if was.Request == mine.Request && was.Actor == mine.Actor && was.Asked.Equal(mine.Asked) {
			return // another stage of the same request, or the same record again
		}
		found(Finding{
			Kind: Reuse, Time: e.Time(), Actor: mine.Actor, Evidence: []uint64{was.Seq, mine.Seq},
			Summary: fmt.Sprintf("audit id %s was used twice: for %s of %s and for %s of %s", id, was.Request, was.Actor, mine.Request, mine.Actor),
		})
		return
	case !other.agrees(mine) || server && r.cfg.Proxy != "" && e.User.Username != r.cfg.Proxy:
		found(Finding{
			Kind: Forgery, Time: e.Time(), Actor: mine.Actor, Evidence: []uint64{other.Seq, mine.Seq},
			Summary: fmt.Sprintf("under audit id %s Bulwark and the API server tell of different requests: %s of %s, and %s of %s",
				id, other.Request, other.Actor, mine.Request, mine.Actor),
		})
	}
	p.set(server, mine)
}

func (p *pair) set(server bool, s *side) {
	if server {
		p.Server = s
	} else {
		p.Bulwark = s
	}
}

// sides gives the side that server says, and the other one.
func (p *pair) sides(server bool) (this, other *side) {
	if server {
		return p.Server, p.Bulwark
	}
	return p.Bulwark, p.Server
}

// end forgets a request, and tells of the side that never came.
func (r *Reconciler) end(at *list.Element, found func(Finding)) {
	p := at.Value.(*pair) //nolint:forcetypeassert // the list holds nothing else
	r.order.Remove(at)
	delete(r.byID, p.ID)
	switch {
	case p.Server == nil && p.Bulwark.Unsure:
	case p.Server == nil:
		found(Finding{
			Kind: Suppression, Time: r.now, Actor: p.Bulwark.Actor, Evidence: []uint64{p.Bulwark.Seq},
			Summary: fmt.Sprintf("Bulwark let %s of %s through, and no API server tells of it", p.Bulwark.Request, p.Bulwark.Actor),
		})
	case p.Bulwark == nil:
		found(Finding{
			Kind: Forgery, Time: r.now, Actor: p.Server.Actor, Evidence: []uint64{p.Server.Seq},
			Summary: fmt.Sprintf("%s of %s carries Bulwark's audit id %s, which Bulwark never gave", p.Server.Request, p.Server.Actor, p.ID),
		})
	}
}

func (r *Reconciler) direct(user string) bool {
	return strings.HasPrefix(user, "system:") || matches(r.cfg.Direct, user)
}

// matches reports whether a text is in a list, or begins as an entry with a star does.
func matches(list []string, text string) bool {
	return slices.ContainsFunc(list, func(d string) bool {
		prefix, star := strings.CutSuffix(d, "*")
		return text == d || star && strings.HasPrefix(text, prefix)
	})
}

// request names what was asked for, alike on both sides.
func request(e *audit.Event) string {
	o := &e.Object
	if o.Resource == "" {
		path, _, _ := strings.Cut(e.RequestURI, "?")
		return e.Verb + " " + path
	}
	var b strings.Builder
	b.WriteString(e.Verb + " " + o.Resource)
	if o.APIGroup != "" {
		b.WriteString("." + o.APIGroup)
	}
	if o.Subresource != "" {
		b.WriteString("/" + o.Subresource)
	}
	name := o.Name
	if e.Verb == "create" && o.Subresource == "" {
		name = "" // the server learns it from the body, at some levels
	}
	for _, part := range []string{o.Namespace, name} {
		if part != "" {
			b.WriteString(" " + part)
		}
	}
	return b.String()
}

// state is what State writes.
type state struct {
	Version int       `json:"version"`
	Now     time.Time `json:"now"`
	Pairs   []*pair   `json:"pairs,omitempty"`
	Early   uint64    `json:"early,omitempty"`
}

const version = 1

// State gives what Restore goes on from.
func (r *Reconciler) State() ([]byte, error) {
	s := state{Version: version, Now: r.now, Early: r.early}
	for at := r.order.Front(); at != nil; at = at.Next() {
		s.Pairs = append(s.Pairs, at.Value.(*pair)) //nolint:forcetypeassert // the list holds nothing else
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write state of reconciliation: %w", err)
	}
	return raw, nil
}

// Restore goes on from what State gave.
func (r *Reconciler) Restore(raw []byte) error {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read state of reconciliation: %w", err)
	}
	if s.Version != version {
		return fmt.Errorf("read state of reconciliation: version %d, want %d", s.Version, version)
	}
	fresh, err := New(r.cfg)
	if err != nil {
		return err
	}
	fresh.now, fresh.early = s.Now, s.Early
	for _, p := range s.Pairs {
		if p == nil || p.ID == "" || p.Bulwark == nil && p.Server == nil || fresh.byID[p.ID] != nil {
			return errors.New("read state of reconciliation: a request without a side, or twice")
		}
		fresh.byID[p.ID] = fresh.order.PushBack(p)
	}
	*r = *fresh
	return nil
}
