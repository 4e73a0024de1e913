package action

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"

	"bulwark.dev/bulwark/internal/audit"
)

// The kinds of values.
const (
	kindNamespace      = "namespace"
	kindName           = "name"
	kindServiceAccount = "serviceaccount"
	kindNode           = "node"
	kindRBACName       = "rbac-name"
	kindIdentity       = "identity"
	kindText           = "text"
)

func valueKinds() []string {
	return []string{kindNamespace, kindName, kindServiceAccount, kindNode, kindRBACName, kindIdentity, kindText}
}

// ErrRefused marks what this package will not do, whoever asks.
var ErrRefused = errors.New("refused")

func refusef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

const (
	accountPrefix = "system:serviceaccount:"
	nodePrefix    = "system:node:"
	// maxIdentity is how long a name may be that is denied.
	maxIdentity = 253
)

// value checks a value of a kind and takes what it means out of it: the namespace and
// the name out of a ServiceAccount's user name, the name out of a node's. None of these
// can have a colon themselves, so there is one reading only.
func value(kind, s string) (string, error) {
	if !utf8.ValidString(s) || len(s) > 2*maxIdentity {
		return "", errors.New("it is too long, or no UTF-8")
	}
	space, account, isAccount := strings.Cut(strings.TrimPrefix(s, accountPrefix), ":")
	isAccount = isAccount && strings.HasPrefix(s, accountPrefix)
	var wrong []string
	switch kind {
	case kindNamespace:
		if isAccount {
			s = space
		}
		wrong = validation.IsDNS1123Label(s)
	case kindServiceAccount:
		if isAccount {
			s = account
		}
		wrong = validation.IsDNS1123Subdomain(s)
	case kindNode:
		s = strings.TrimPrefix(s, nodePrefix)
		wrong = validation.IsDNS1123Subdomain(s)
	case kindName:
		wrong = validation.IsDNS1123Subdomain(s)
	case kindRBACName:
		if wrong = content.IsPathSegmentName(s); len(wrong) == 0 {
			wrong = plain(s)
		}
	case kindIdentity, kindText:
		wrong = plain(s)
	default:
		wrong = []string{"its kind is not known"}
	}
	if len(wrong) > 0 {
		return "", fmt.Errorf("%q is no %s: %s", s, kind, strings.Join(wrong, "; "))
	}
	return s, nil
}

// plain says why a text cannot stand for exactly one name that a person can read.
func plain(s string) []string {
	switch {
	case s == "" || len(s) > maxIdentity:
		return []string{fmt.Sprintf("expected 1 to %d bytes", maxIdentity)}
	case strings.TrimSpace(s) != s:
		return []string{"it begins or ends with white space"}
	case strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }):
		return []string{"it has characters that cannot be seen, or were lost"}
	}
	return nil
}

// given checks parameters that a person gave.
func (a *Action) given(set map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for name := range set {
		if !slices.ContainsFunc(a.Parameters, func(p Parameter) bool { return p.Name == name }) {
			return nil, refusef("action %s has no parameter %q", a.Name, name)
		}
	}
	for _, p := range a.Parameters {
		if set[p.Name] == "" {
			if !p.Optional {
				return nil, refusef("action %s: parameter %q is required: %s", a.Name, p.Name, p.Description)
			}
			continue
		}
		v, err := value(p.Kind, set[p.Name])
		if err != nil {
			return nil, refusef("action %s: parameter %q: %w", a.Name, p.Name, err)
		}
		out[p.Name] = v
	}
	return out, nil
}

// read takes the parameters, and the uid where they have it, out of the evidence. All
// events must name the same.
func (a *Action) read(how string, r Reading, evidence []*audit.Event) (set map[string]string, uid string, err error) {
	if len(evidence) == 0 {
		return nil, "", refusef("the alert has no evidence that can still be read")
	}
	set = map[string]string{}
	for i, e := range evidence {
		if err := r.fits(how, e, a.denies()); err != nil {
			return nil, "", err
		}
		for _, p := range a.Parameters {
			got, err := first(e, r.Parameters[p.Name])
			if err != nil {
				return nil, "", err
			}
			if i > 0 && set[p.Name] != got {
				return nil, "", refusef("the evidence names more than one %s", p.Name)
			}
			set[p.Name] = got
		}
		got, err := first(e, r.UID)
		if err != nil {
			return nil, "", err
		}
		if uid != "" && got != "" && got != uid {
			return nil, "", refusef("the evidence is about more than one object of the name: their uids are %q and %q", uid, got)
		}
		if got != "" {
			uid = got
		}
	}
	set, err = a.given(set)
	return set, uid, err
}

// first gives the value of the first field that has one.
func first(e *audit.Event, paths []string) (string, error) {
	for _, path := range paths {
		f, err := audit.ParseField(path)
		if err != nil {
			return "", fmt.Errorf("read event %d: %w", e.Seq, err)
		}
		got, err := single(f, e)
		if err != nil {
			return "", refusef("event %d: %s: %w", e.Seq, path, err)
		}
		if got != "" {
			return got, nil
		}
	}
	return "", nil
}

// single gives a field's only value.
func single(f audit.Field, e *audit.Event) (string, error) {
	var out string
	n := 0
	f.Each(e, func(v audit.Value) bool { out = v.Text; n++; return n < 2 })
	if n > 1 {
		return "", errors.New("it has several values")
	}
	return out, nil
}

// fits says why an event is no evidence to act on: who only tried may name any victim,
// and so may who did not prove a name. What names objects of the cluster comes from its
// API server: an issuer that only a gateway trusts may give any name.
func (r Reading) fits(how string, e *audit.Event, denies bool) error {
	if e.Kind != audit.KindAPI && (!denies || e.Kind != audit.KindGateway && e.Kind != audit.KindAccess) {
		return refusef("event %d is of kind %q: that is no evidence for this", e.Seq, e.Kind)
	}
	if how == ReadObject && !e.Succeeded() {
		return refusef("event %d did not succeed: who only tried may name any victim", e.Seq)
	}
	if how == ReadCaller && (e.Status.Code == 401 || e.User.Username == "" || e.User.Username == "system:anonymous" || slices.Contains(e.User.Groups, "system:unauthenticated") ||
		e.Kind == audit.KindGateway && onlyOne(e.User.Extra["method"]) == "anonymous") {
		return refusef("event %d: the name %q was not proven", e.Seq, e.User.Username)
	}
	if r.Resource != "" {
		got := e.Object.Resource
		if e.Object.APIGroup != "" {
			got = e.Object.APIGroup + "/" + got
		}
		if got != r.Resource {
			return refusef("event %d is about %q, not %q", e.Seq, got, r.Resource)
		}
	}
	return nil
}

func onlyOne(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
