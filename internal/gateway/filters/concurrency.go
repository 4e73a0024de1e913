package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/limit"
)

// concurrency bounds how many requests of a key are in flight.
type concurrency struct {
	rule  string
	key   *keyExpr // nil: all requests share
	most  int
	count *limit.InFlight
}

func newConcurrency(r *ir.Rule, deps Deps) (step, error) {
	if r.Concurrency == nil {
		return nil, nil
	}
	c := &concurrency{rule: r.Concurrency.Rule + " concurrency", most: r.Concurrency.Max}
	if c.most < 1 {
		return nil, fmt.Errorf("%s: max is %d, must be at least 1", c.rule, c.most)
	}
	if deps.State == nil {
		return nil, errors.New("no state to count in")
	}
	var err error
	if c.key, err = newKeyExpr(r.Concurrency.Key); err != nil {
		return nil, fmt.Errorf("%s: key: %w", c.rule, err)
	}
	c.count = deps.State.concurrency(r.Concurrency.Rule)
	return c, nil
}

func (c *concurrency) request(ctx context.Context, x *Exchange) bulwark.Decision {
	key, err := c.key.of(ctx, x)
	if err != nil {
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, c.rule, fmt.Sprintf("the key cannot be told: %v", err))
	}
	release, ok := c.count.Acquire(key, c.most)
	if !ok {
		d := bulwark.Refuse(http.StatusServiceUnavailable, bulwark.CodeOverloaded, c.rule, "as many requests as may be are in flight")
		d.RetryAfter = time.Second
		return d
	}
	x.OnDone(release)
	return bulwark.Allow(c.rule)
}
