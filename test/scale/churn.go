package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// loadFigures are what one kind of load came to.
type loadFigures struct {
	Load     string  `json:"load"`
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"` // no answer, or one that nobody should get
	Wrong    int     `json:"wrong"`  // admitted or refused against the policy, or by another's route
	Latency  summary `json:"latency"`
	samples  []time.Duration
	// first are some of what went wrong, to look at.
	First []string `json:"first,omitempty"`
}

// verdict is what an answer was.
type verdict int

const (
	fine verdict = iota
	failed
	wrong
)

// traffic is one kind of load.
type traffic struct {
	name string
	// connections are how many callers send it.
	connections int
	// next gives a request and how its answer is judged.
	next func() (r route, path, token string, judge func(answer) verdict, err error)
}

// mustBe judges requests whose answer is known.
func mustBe(status int, body string) func(answer) verdict {
	return func(a answer) verdict {
		switch {
		case a.status == status && (body == "" || a.body == body):
			return fine
		case a.status < 400 || a.status == 401 || a.status == 403:
			return wrong
		default:
			return failed
		}
	}
}

// mayBe judges requests to a route that comes and goes: it is not there, or
// refuses, or admits its friends.
func mayBe(r route, friend bool) func(answer) verdict {
	return func(a answer) verdict {
		switch {
		case a.status == 404 || a.status == 403:
			return fine
		case friend && a.status == 200 && a.body == r.name():
			return fine
		case a.status < 400 || a.status == 401:
			return wrong
		default:
			return failed
		}
	}
}

// loads are what is sent during churn: to the stable routes, of which the answer
// is known, and to those that come and go.
func (w *world) loads(stable, total int, newest func() int) []traffic {
	known := func(role func(route) string, forge func(string) string, judge func(route) func(answer) verdict) func() (route, string, string, func(answer) verdict, error) {
		return func() (route, string, string, func(answer) verdict, error) {
			r := route(rand.IntN(stable))
			t, err := w.signer.token(role(r))
			return r, path(w.version[r]), forge(t), judge(r), err
		}
	}
	same := func(t string) string { return t }
	coming := func(friend bool) func() (route, string, string, func(answer) verdict, error) {
		return func() (route, string, string, func(answer) verdict, error) {
			r := route(stable + rand.IntN(total-stable))
			// Half of the requests go where something has just happened.
			if n := newest(); rand.IntN(2) == 0 && n > stable {
				r = route(max(stable, n-rand.IntN(20)))
			}
			role := r.stranger()
			if friend {
				role = r.friend()
			}
			t, err := w.signer.token(role)
			return r, path(rand.IntN(2)), t, mayBe(r, friend), err
		}
	}
	all := []traffic{
		{"stable routes, who may", 4, known(route.friend, same, func(r route) func(answer) verdict { return mustBe(200, r.name()) })},
		{"stable routes, who may not", 1, known(route.stranger, same, func(route) func(answer) verdict { return mustBe(403, "") })},
		{"stable routes, forged token", 1, known(route.friend, forged, func(route) func(answer) verdict { return mustBe(401, "") })},
	}
	if total > stable {
		all = append(all, traffic{"routes that come and go, who may", 1, coming(true)}, traffic{"routes that come and go, who may not", 1, coming(false)})
	}
	return all
}

// forged gives the token with another claim under the same signature.
func forged(t string) string {
	parts := strings.SplitN(t, ".", 3)
	flip := byte('A')
	if parts[2][10] == flip {
		flip = 'B'
	}
	return parts[0] + "." + parts[1] + "." + parts[2][:10] + string(flip) + parts[2][11:]
}

// load sends every kind of traffic, each of its connections at a rate of
// requests per second, until ctx ends.
func (w *world) load(ctx context.Context, kinds []traffic, rate int) []*loadFigures {
	out := make([]*loadFigures, len(kinds))
	var senders sync.WaitGroup
	for i, k := range kinds {
		f := &loadFigures{Load: k.name}
		out[i] = f
		var mu sync.Mutex
		for range k.connections {
			senders.Go(func() {
				c := newCaller(w.address)
				defer c.close()
				_ = until(ctx, time.Second/time.Duration(rate), func() (bool, error) {
					r, at, token, judge, err := k.next()
					begin := time.Now()
					var got answer
					if err == nil {
						// A request that has begun is waited for.
						got, err = c.get(context.WithoutCancel(ctx), r.host(), at, token)
					}
					took := time.Since(begin)
					mu.Lock()
					f.note(r, at, got, err, judge, took)
					mu.Unlock()
					return false, nil
				})
			})
		}
	}
	senders.Wait()
	for _, f := range out {
		f.Latency = summarize(f.samples)
	}
	return out
}

func (f *loadFigures) note(r route, at string, got answer, err error, judge func(answer) verdict, took time.Duration) {
	f.Requests++
	f.samples = append(f.samples, took)
	var what string
	if err != nil {
		f.Failed++
		what = err.Error()
	} else {
		switch judge(got) {
		case fine:
			return
		case failed:
			f.Failed++
		case wrong:
			f.Wrong++
		}
		what = fmt.Sprintf("%s%s: %d %.60q", r.name(), at, got.status, got.body)
	}
	if len(f.First) < 5 {
		f.First = append(f.First, time.Now().Format("15:04:05.000")+" "+what)
	}
}

// each does something to every route, by several writers at once, in order.
func each(ctx context.Context, from, to, parallel int, done func(int), do func(context.Context, route) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan route)
	var writers sync.WaitGroup
	for range parallel {
		writers.Go(func() {
			for r := range next {
				if err := do(ctx, r); err != nil {
					cancel(err)
				}
				done(int(r))
			}
		})
	}
feed:
	for r := from; r < to; r++ {
		select {
		case next <- route(r):
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	writers.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}
