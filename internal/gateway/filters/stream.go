package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Stream is what can be judged of a connection whose bytes go on unread: where
// it comes from, and how many there are.
type Stream struct {
	network     step // nil where the rule does not ask for it
	concurrency step
}

// BuildStream makes the steps of a rule that ir.Stream refers to. A rule that no
// policy covers, or that asks for what nobody can do to bytes, is an error: the
// caller then refuses its connections.
func BuildStream(rule *ir.Rule, deps Deps) (*Stream, error) {
	if !rule.Unprotected && len(rule.Policy) == 0 {
		return nil, fmt.Errorf("stream of %s: no policy covers it", rule.ID)
	}
	if what := beyondStream(rule); what != "" {
		return nil, fmt.Errorf("stream of %s: %s needs a request, and a stream has none", rule.ID, what)
	}
	s := &Stream{}
	var err, cerr error
	s.network, err = newNetwork(rule, deps)
	s.concurrency, cerr = newConcurrency(rule, deps)
	if err := errors.Join(err, cerr); err != nil {
		return nil, fmt.Errorf("stream of %s: %w", rule.ID, err)
	}
	return s, nil
}

// beyondStream names a part of the rule that a stream cannot keep.
func beyondStream(r *ir.Rule) string {
	for _, part := range []struct {
		asked bool
		name  string
	}{
		{r.Authentication != nil, "authentication"},
		{r.Authorization != nil, "authorization"},
		{r.LockOut != nil, "lock-out"},
		{len(r.RateLimits) > 0, "a rate limit"},
		{r.Form != nil, "a limit on requests"},
		{r.CORS != nil, "CORS"},
		{r.Transform != nil, "a transformation"},
		{r.Redirect != nil, "a redirect"},
		{r.Rewrite != nil, "a rewrite"},
		{r.RequestHeaders != nil || r.ResponseEdit != nil, "a header modifier"},
		{len(r.Mirrors) > 0, "a mirror"},
	} {
		if part.asked {
			return part.name
		}
	}
	return ""
}

// Admit judges a new connection. x.Req holds the server name as Host and nothing
// else; x.Done gives back the place that the connection takes. The nil Stream
// refuses.
func (s *Stream) Admit(ctx context.Context, x *Exchange) bulwark.Decision {
	d := s.Still(ctx, x)
	if d.Allowed && s.concurrency != nil {
		d = s.concurrency.request(ctx, x)
	}
	return d
}

// Still judges a connection that was admitted by an earlier table: all but how
// many there are, for it has its place already.
func (s *Stream) Still(ctx context.Context, x *Exchange) bulwark.Decision {
	switch {
	case s == nil:
		return bulwark.Refuse(http.StatusServiceUnavailable, bulwark.CodeUnavailable, "", "the rule has no steps")
	case s.network != nil:
		return s.network.request(ctx, x)
	}
	return bulwark.Allow("")
}
