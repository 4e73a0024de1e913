// Package pss holds the Pod Security Standards as controls: the checks of the API
// server's own admission plugin, each with the fields that it is about.
package pss

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// Options choose the controls. The zero Options give both levels at the latest
// version.
type Options struct {
	// Version is that of the standards, as "v1.30" or "latest".
	Version string
	// Level is "baseline", or "restricted", which holds the checks of baseline that
	// it does not replace with stricter ones. Left out: the checks of both levels.
	Level string
}

// Control is one check of one level. It is a control.Single.
type Control struct {
	meta
	// Check is the upstream id, as "hostNamespaces".
	Check policy.CheckID
	Level api.Level

	allowed policy.CheckPodFn
	places  places
	pass    []control.Result
}

type meta = control.Meta

// Controls gives the controls of a level and version, by id.
func Controls(opt Options) ([]*Control, error) {
	version, err := api.ParseVersion(cmp.Or(opt.Version, "latest"))
	if err != nil {
		return nil, fmt.Errorf("version of the Pod Security Standards: %w", err)
	}
	switch api.Level(opt.Level) {
	case "", api.LevelBaseline, api.LevelRestricted:
	case api.LevelPrivileged:
		return nil, fmt.Errorf("level %q of the Pod Security Standards forbids nothing: use baseline or restricted", opt.Level)
	default:
		return nil, fmt.Errorf("%q is no level of the Pod Security Standards: use baseline or restricted", opt.Level)
	}
	var out []*Control
	var replaced []policy.CheckID
	for _, c := range policy.DefaultChecks() {
		if c.Level == api.LevelRestricted && opt.Level == string(api.LevelBaseline) {
			continue
		}
		v := at(&c, version)
		if v == nil {
			continue
		}
		about, ok := catalog[c.ID]
		if !ok {
			return nil, fmt.Errorf("the Pod Security Standards have a check %q that nothing is written about", c.ID)
		}
		if opt.Level == string(api.LevelRestricted) {
			replaced = append(replaced, v.OverrideCheckIDs...)
		}
		out = append(out, &Control{
			meta: control.Meta{
				ID: "pss-" + string(c.Level) + "-" + about.id, Title: about.title, Severity: about.severity, Category: "pods",
				Why: about.why, Remediation: about.remediation,
				References: []string{"https://kubernetes.io/docs/concepts/security/pod-security-standards/"},
			},
			Check: c.ID, Level: c.Level, allowed: v.CheckPod, places: about.places,
			pass: []control.Result{{Verdict: bulwark.VerdictPass}},
		})
	}
	out = slices.DeleteFunc(out, func(c *Control) bool { return slices.Contains(replaced, c.Check) })
	slices.SortFunc(out, func(a, b *Control) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// at gives the form of a check in a version, nil where it was not there yet.
func at(c *policy.Check, version api.Version) *policy.VersionedCheck {
	var out *policy.VersionedCheck
	for i := range c.Versions {
		if !version.Older(c.Versions[i].MinimumVersion) {
			out = &c.Versions[i]
		}
	}
	return out
}

// mostText is how many bytes a message has.
const mostText = 4096

// Meta gives what the control has in common with all others.
func (c *Control) Meta() control.Meta { return c.meta }

// Applies reports whether the object has pods.
func (c *Control) Applies(s *control.Subject) bool { return len(s.Pods) > 0 }

// Judge gives the verdict on each pod of the object, with the fields where it
// fails.
func (c *Control) Judge(s *control.Subject) []control.Result {
	var out []control.Result
	for i := range s.Pods {
		pod := s.Typed(i)
		prefix := ""
		if len(s.Pods) > 1 {
			prefix = s.Pods[i].Path + ":"
		}
		if pod.Err != nil {
			out = append(out, control.Result{
				Verdict: bulwark.VerdictUnknown, Field: s.Pods[i].Path, Key: prefix + "pod",
				Reason: "the pod specification has a field of a type that the API refuses",
			})
			continue
		}
		said := c.allowed(&pod.Metadata, &pod.Spec)
		if said.Allowed {
			continue
		}
		message := "the " + string(c.Level) + " standard forbids " + cmp.Or(said.ForbiddenReason, policy.UnknownForbiddenReason)
		found := c.find(s, i, pod)
		if len(found) == 0 {
			found = []place{{field: s.Pods[i].Path}}
		}
		if said.ForbiddenDetail != "" {
			message += ": " + said.ForbiddenDetail
		}
		if len(message) > mostText { // a made-up pod can have any number of names in it
			message = strings.ToValidUTF8(message[:mostText], "") + "…"
		}
		for _, p := range found {
			out = append(out, control.Result{
				Verdict: bulwark.VerdictFail, Field: p.field, Container: p.container, Key: prefix + p.key, Message: message,
			})
		}
	}
	if len(out) == 0 {
		return c.pass
	}
	return out
}
