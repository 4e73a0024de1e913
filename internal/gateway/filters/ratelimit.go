package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/limit"
)

// rateLimits are the limits of a rule. A request must find room in all that
// apply to it. Those that refuse are looked at first, so that a refusal costs
// nothing elsewhere; then those with a queue are waited for, in order; then the
// request is counted. Where another request takes the last place between look
// and count, the refused one has been counted in the limits before: lost races
// make limits stricter, never wider.
type rateLimits struct {
	limits []rateLimit
	now    func() time.Time
}

type rateLimit struct {
	rule    string
	when    *whenExpr // nil: always
	key     *keyExpr  // nil: all requests share
	limiter *limit.Limiter
	queue   *limit.Queue // nil: refuse
	timeout time.Duration
	// policy is the RateLimit-Policy field, label the start of RateLimit.
	policy, label string
}

// maxRateLimits bounds the limits of one rule: a request's keys stay on the
// stack.
const maxRateLimits = 16

// statusClientGone is the customary status, in records only, of a request whose
// client did not wait: nobody is there to read it.
const statusClientGone = 499

func newRateLimits(r *ir.Rule, deps Deps) (step, error) {
	if len(r.RateLimits) == 0 {
		return nil, nil
	}
	switch {
	case len(r.RateLimits) > maxRateLimits:
		return nil, fmt.Errorf("%d rate limits, at most %d", len(r.RateLimits), maxRateLimits)
	case deps.State == nil || deps.Now == nil:
		return nil, errors.New("no state or clock to count with")
	}
	s := &rateLimits{now: deps.Now}
	for i := range r.RateLimits {
		l, err := newRateLimit(&r.RateLimits[i], deps)
		if err != nil {
			return nil, err
		}
		s.limits = append(s.limits, l)
	}
	return s, nil
}

func newRateLimit(c *ir.RateLimit, deps Deps) (rateLimit, error) {
	l := rateLimit{rule: c.Rule}
	var err error
	if l.when, err = newWhenExpr(c.When); err != nil {
		return l, fmt.Errorf("%s: when: %w", c.Rule, err)
	}
	if l.key, err = newKeyExpr(c.Key); err != nil {
		return l, fmt.Errorf("%s: key: %w", c.Rule, err)
	}
	if c.Queue != nil {
		if c.Queue.Depth < 1 || c.Queue.Timeout <= 0 {
			return l, fmt.Errorf("%s: queue: depth is %d and timeout %v, both must be positive", c.Rule, c.Queue.Depth, c.Queue.Timeout)
		}
		l.timeout = c.Queue.Timeout
	}
	counters, err := deps.State.rate(c, deps.Now)
	if err != nil {
		return l, err
	}
	l.limiter, l.queue = counters.limiter, counters.queue
	name := quotedName(c.Rule)
	l.label = name + ";r="
	l.policy = name + ";q=" + strconv.Itoa(c.Count)
	if c.Period%time.Second == 0 {
		l.policy += ";w=" + strconv.FormatInt(int64(c.Period/time.Second), 10)
	}
	return l, nil
}

// quotedName is the last word of a rule's name as a string of RFC 9651: callers
// learn the limit's name and not which policy of which namespace holds it.
func quotedName(rule string) string {
	name := rule[strings.LastIndexByte(rule, ' ')+1:]
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return `"limit"`
		}
	}
	return `"` + name + `"`
}

func (s *rateLimits) request(ctx context.Context, x *Exchange) bulwark.Decision {
	var keys [maxRateLimits]string
	var applies [maxRateLimits]bool
	now := x.Now
	for i := range s.limits {
		l := &s.limits[i]
		var err error
		if applies[i], err = l.when.of(ctx, x); err != nil {
			return l.unsure("condition", err)
		}
		if !applies[i] {
			continue
		}
		if keys[i], err = l.key.of(ctx, x); err != nil {
			return l.unsure("key", err)
		}
		if l.queue == nil && len(s.limits) > 1 {
			if v := l.limiter.Peek(keys[i], now); !v.OK {
				return l.refuse(x, v, "the limit is reached")
			}
		}
	}
	tightest, left := -1, limit.Verdict{}
	note := func(i int, v limit.Verdict) {
		if tightest < 0 || v.Remaining < left.Remaining {
			tightest, left = i, v
		}
	}
	for i := range s.limits {
		l := &s.limits[i]
		if !applies[i] || l.queue == nil {
			continue
		}
		v, err := l.wait(ctx, x, keys[i], now)
		if err != nil {
			return l.turnedAway(x, v, err)
		}
		note(i, v)
	}
	if x.Queued > 0 {
		now = s.now()
	}
	for i := range s.limits {
		l := &s.limits[i]
		if !applies[i] || l.queue != nil {
			continue
		}
		v := l.limiter.Allow(keys[i], now)
		if !v.OK {
			return l.refuse(x, v, "the limit is reached")
		}
		note(i, v)
	}
	if tightest >= 0 {
		s.limits[tightest].tell(x, left)
	}
	return bulwark.Allow("")
}

func (l *rateLimit) wait(ctx context.Context, x *Exchange, key string, now time.Time) (limit.Verdict, error) {
	if v := l.queue.Try(key, now); v.OK {
		return v, nil
	}
	v, waited, err := l.queue.Wait(ctx, key, flowOf(x), l.timeout)
	x.Queued += waited
	return v, err
}

// flowOf is whose turn a turn in a queue is: the identity's, or the source's
// where nobody is known. One IPv6 client owns a whole /64.
func flowOf(x *Exchange) string {
	if x.Identity.Known() && x.Identity.Method != "anonymous" {
		return x.Identity.Issuer + " " + x.Identity.Name
	}
	source := x.Source.Unmap().WithZone("")
	if source.Is6() {
		source = netip.PrefixFrom(source, 64).Masked().Addr()
	}
	return source.String()
}

func (l *rateLimit) unsure(what string, err error) bulwark.Decision {
	return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, l.rule, fmt.Sprintf("the %s cannot be told: %v", what, err))
}

func (l *rateLimit) refuse(x *Exchange, v limit.Verdict, reason string) bulwark.Decision {
	v.Remaining = 0
	l.tell(x, v)
	d := bulwark.Refuse(http.StatusTooManyRequests, bulwark.CodeRateLimited, l.rule, reason)
	d.RetryAfter = time.Duration(max(1, ceilSeconds(v.RetryAfter))) * time.Second
	return d
}

func (l *rateLimit) turnedAway(x *Exchange, v limit.Verdict, err error) bulwark.Decision {
	switch {
	case errors.Is(err, limit.ErrFull), errors.Is(err, limit.ErrTimeout):
		return l.refuse(x, v, err.Error())
	case errors.Is(err, limit.ErrClosed):
		return bulwark.Refuse(http.StatusServiceUnavailable, bulwark.CodeUnavailable, l.rule, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return bulwark.Refuse(http.StatusGatewayTimeout, bulwark.CodeGatewayTimeout, l.rule, "the request's time was over while it waited")
	}
	return bulwark.Refuse(statusClientGone, bulwark.CodeClientGone, l.rule, "the client went away while it waited")
}

// tell puts draft-ietf-httpapi-ratelimit-headers' fields of this limit on
// whatever response goes out.
func (l *rateLimit) tell(x *Exchange, v limit.Verdict) {
	b := make([]byte, 0, 64)
	b = append(b, l.label...)
	b = strconv.AppendInt(b, int64(v.Remaining), 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, ceilSeconds(max(v.Reset, v.RetryAfter)), 10)
	x.ResponseHeader.Set("ratelimit", string(b))
	x.ResponseHeader.Set("ratelimit-policy", l.policy)
}

func ceilSeconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}
