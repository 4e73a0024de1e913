package compile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// The fields of a policy are read after v1alpha1.Default filled them in and
// v1alpha1.Validate found nothing. What is checked here again is what would
// admit more than asked for if those two ever let it through.

func (*compiler) authorization(p *policy) error {
	a := p.obj.Spec.Authorization
	out := &ir.Authorization{Rule: p.String(), Rules: []ir.AuthRule{}}
	for _, r := range a.Rules {
		if strings.TrimSpace(r.When) == "" {
			return fmt.Errorf("rule %q has no condition", r.Name)
		}
		out.Rules = append(out.Rules, ir.AuthRule{Name: r.Name, Allow: r.Allow, When: r.When})
	}
	p.steps.Authorization = out
	return nil
}

func (*compiler) rateLimits(p *policy) error {
	for _, l := range p.obj.Spec.RateLimits {
		count, period, err := v1alpha1.ParseRate(l.Rate)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		if count < 1 || period <= 0 || l.Burst < 1 {
			return fmt.Errorf("%s: rate and burst must be positive", l.Name)
		}
		if l.Scope != v1alpha1.ScopeLocal {
			return fmt.Errorf("%s: scope %q is not supported", l.Name, l.Scope)
		}
		out := ir.RateLimit{
			Rule: p.String() + " rateLimit " + l.Name, When: l.When, Key: l.Key,
			Count: count, Period: period, Burst: int(l.Burst),
		}
		if o := l.Overflow; o != nil && o.Queue != nil {
			if o.Reject != nil || o.Queue.Depth < 1 || o.Queue.Timeout.Duration <= 0 {
				return fmt.Errorf("%s: overflow is either reject or a queue with depth and timeout", l.Name)
			}
			out.Queue = &ir.Queue{Depth: int(o.Queue.Depth), Timeout: o.Queue.Timeout.Duration}
		}
		p.steps.RateLimits = append(p.steps.RateLimits, out)
	}
	return nil
}

func (*compiler) concurrency(p *policy) error {
	in := p.obj.Spec.Concurrency
	if in.Max < 1 {
		return errors.New("max must be positive")
	}
	p.steps.Concurrency = &ir.Concurrency{Rule: p.String(), Key: in.Key, Max: int(in.Max)}
	return nil
}

func (*compiler) lockOut(p *policy) error {
	in := p.obj.Spec.LockOut
	out := &ir.LockOut{
		Rule: p.String(), Attempts: int(in.Attempts), Window: in.Window.Duration, Duration: in.Duration.Duration,
	}
	if out.Attempts < 1 || out.Window <= 0 || out.Duration <= 0 {
		return errors.New("attempts, window and duration must be positive")
	}
	switch in.By {
	case v1alpha1.LockByBoth:
		out.ByIdentity, out.BySource = true, true
	case v1alpha1.LockByIdentity:
		out.ByIdentity = true
	case v1alpha1.LockBySource:
		out.BySource = true
	default:
		return fmt.Errorf("by: %q is not known", in.By)
	}
	p.steps.LockOut = out
	return nil
}

func (*compiler) network(p *policy) error {
	in := p.obj.Spec.Network
	allow, err := prefixes(in.Allow)
	if err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	deny, err := prefixes(in.Deny)
	if err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	p.steps.Network = &ir.Network{Rule: p.String(), Allow: allow, Deny: deny}
	return nil
}

func prefixes(in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range in {
		x, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no CIDR prefix", s)
		}
		if x.Addr().Is4In6() {
			// Sources are judged as IPv4: such a prefix would never match.
			return nil, fmt.Errorf("%q: write IPv4 addresses as such", s)
		}
		out = append(out, x.Masked())
	}
	return out, nil
}

func (*compiler) form(p *policy) error {
	in := p.obj.Spec.Request
	out := &ir.Form{Rule: p.String(), MaxBodyBytes: *in.MaxBodyBytes, AllowEncoded: slices.Clone(in.AllowEncoded)}
	if out.MaxBodyBytes < 0 {
		return errors.New("maxBodyBytes is negative")
	}
	for _, s := range in.AllowEncoded {
		if message.OddityOf(s) == 0 {
			return fmt.Errorf("allowEncoded: %q is not known", s)
		}
	}
	for _, m := range in.Methods {
		if !message.ValidToken(m) {
			return fmt.Errorf("methods: %q is no method", m)
		}
	}
	out.Methods = slices.Clone(in.Methods)
	p.steps.Form = out
	return nil
}

func (*compiler) cors(p *policy) error {
	in := p.obj.Spec.CORS
	if in.AllowCredentials && slices.Contains(in.AllowOrigins, "*") {
		return errors.New("allowCredentials with the origin \"*\" would let every site act for its visitors")
	}
	p.steps.CORS = &ir.CORS{
		Rule: p.String(), AllowOrigins: slices.Clone(in.AllowOrigins), AllowMethods: slices.Clone(in.AllowMethods),
		AllowHeaders: slices.Clone(in.AllowHeaders), ExposeHeaders: slices.Clone(in.ExposeHeaders),
		AllowCredentials: in.AllowCredentials, MaxAge: in.MaxAge.Duration,
	}
	return nil
}

func (*compiler) transform(p *policy) error {
	in := p.obj.Spec.Transform
	out := &ir.Transform{Rule: p.String()}
	var err error
	if r := in.Request; r != nil {
		if out.SetHeaders, err = headerValues(r.SetHeaders); err != nil {
			return fmt.Errorf("request.setHeaders: %w", err)
		}
		if out.RemoveHeaders, err = removals(r.RemoveHeaders); err != nil {
			return fmt.Errorf("request.removeHeaders: %w", err)
		}
		if out.SetQuery, err = nameValues(r.SetQuery); err != nil {
			return fmt.Errorf("request.setQuery: %w", err)
		}
		out.RemoveQuery = slices.Clone(r.RemoveQuery)
		if r.Path != nil {
			if err := pattern(r.Path.Pattern); err != nil {
				return fmt.Errorf("request.path: %w", err)
			}
			out.PathPattern, out.PathReplace = r.Path.Pattern, r.Path.Replacement
		}
	}
	if r := in.Response; r != nil {
		if out.ResponseSet, err = headerValues(r.SetHeaders); err != nil {
			return fmt.Errorf("response.setHeaders: %w", err)
		}
		if out.ResponseRemove, err = removals(r.RemoveHeaders); err != nil {
			return fmt.Errorf("response.removeHeaders: %w", err)
		}
	}
	p.steps.Transform = out
	return nil
}

func nameValues(in []v1alpha1.NameValue) ([]ir.NameValue, error) {
	var out []ir.NameValue
	for _, v := range in {
		if v.Name == "" || (v.Value != nil) == (v.Expression != "") {
			return nil, fmt.Errorf("%q needs a name and exactly one of value and expression", v.Name)
		}
		o := ir.NameValue{Name: v.Name, Expression: v.Expression}
		if v.Value != nil {
			o.Value = *v.Value
		}
		out = append(out, o)
	}
	return out, nil
}

// headerValues is nameValues for headers: names in lower case, none that frames
// messages.
func headerValues(in []v1alpha1.NameValue) ([]ir.NameValue, error) {
	out, err := nameValues(in)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Name, err = headerName(out[i].Name); err != nil {
			return nil, err
		}
		if !message.ValidValue(out[i].Value) {
			return nil, fmt.Errorf("header %s has a value that no header can have", out[i].Name)
		}
	}
	return out, nil
}

func removals(in []string) ([]string, error) {
	var out []string
	for _, s := range in {
		name, err := headerName(s)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

func headerName(s string) (string, error) {
	name := strings.ToLower(s)
	if !message.ValidName(name) {
		return "", fmt.Errorf("%q is no header name", s)
	}
	if slices.Contains(framing, name) {
		return "", fmt.Errorf("header %s belongs to the gateway", name)
	}
	return name, nil
}
