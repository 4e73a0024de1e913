package export_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/admission/export"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// workloads have their pod template where a policy looks for it.
var workloads = []string{"Pod", "PodTemplate", "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"} //nolint:gochecknoglobals // read only

// catalogue is every control of the catalog with its policy, by its id.
type catalogue struct {
	controls []*content.Control
	policies map[string]*vap.Policy
	left     []export.LeftOut
}

// compiled compiles all of them once, which takes the most time here.
var compiled = sync.OnceValues(func() (*catalogue, error) { //nolint:gochecknoglobals // constant, made when first used
	out := &catalogue{policies: map[string]*vap.Policy{}}
	var errs []error
	var err error
	if out.controls, err = content.Load(catalog.Controls()); err != nil {
		return nil, fmt.Errorf("controls that cannot be read: %w", err)
	}
	policies, left, err := export.Policies(out.controls, export.Options{Actions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}})
	if err != nil {
		return nil, err
	}
	out.left = left
	for _, e := range policies {
		p, err := vap.Compile(e.Policy)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out.policies[e.Control] = p
	}
	return out, errors.Join(errs...)
})

// TestExamples gives every example of every control to its policy, by the API
// server's own code: the verdict is that of the scan.
func TestExamples(t *testing.T) {
	t.Parallel()
	shipped, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	controls, policies := shipped.controls, shipped.policies
	for _, l := range shipped.left {
		t.Logf("no policy: %s: %s", l.Control, l.Reason)
	}
	ran, custom := map[bulwark.Verdict]int{}, 0
	for _, c := range controls {
		p := policies[c.ID]
		if p == nil {
			continue
		}
		check := func(name string, object map[string]any) {
			s := subject(t, object)
			if (c.AppliesTo.Pods || c.AppliesTo.Component != "") && !slices.Contains(workloads, s.Object.Kind) {
				custom++
				return
			}
			want := worst(c.Judge(s))
			got := p.Judge(t.Context(), vap.Request{Object: s.Content, Resource: "any"})
			denied := got.Denied || got.Failed
			switch {
			case got.Failed != (want == bulwark.VerdictUnknown), denied != (want == bulwark.VerdictFail || want == bulwark.VerdictUnknown):
				t.Errorf("%s %s: the scan says %s, the policy %+v\n%s\n%s", c.ID, name, want, got, p.Spec.Validations[0].Expression, show(p.Spec.Variables))
			case got.Denied && !strings.HasPrefix(got.Messages[0], c.ID+": "):
				t.Errorf("%s %s: message %q", c.ID, name, got.Messages)
			case got.Denied && got.Messages[0] == p.Spec.Validations[0].Message:
				t.Errorf("%s %s: the message cannot be made: %s", c.ID, name, p.Spec.Validations[0].MessageExpression)
			}
			ran[want]++
		}
		for _, o := range c.Examples.Pass {
			check("pass", o)
		}
		for _, o := range c.Examples.Skip {
			check("skip", o)
		}
		for _, x := range c.Examples.Fail {
			check("fail", x.Object)
		}
	}
	t.Logf("%d controls, %d policies, %d cannot be one; examples: %d pass, %d fail, %d do not apply, %d are custom workloads, which policies do not match",
		len(controls), len(policies), len(shipped.left), ran[bulwark.VerdictPass], ran[bulwark.VerdictFail], ran[bulwark.VerdictNotApplicable], custom)
	if ran[bulwark.VerdictPass] < len(policies)/2 || ran[bulwark.VerdictFail] < len(policies)/2 {
		t.Error("too few examples ran")
	}
}

func worst(results []control.Result) bulwark.Verdict {
	for _, v := range []bulwark.Verdict{bulwark.VerdictFail, bulwark.VerdictUnknown, bulwark.VerdictPass} {
		if slices.ContainsFunc(results, func(r control.Result) bool { return r.Verdict == v }) {
			return v
		}
	}
	return bulwark.VerdictNotApplicable
}

func subject(t *testing.T, object map[string]any) *control.Subject {
	t.Helper()
	s, err := control.SubjectOf(object)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func show(v any) string {
	text, _ := json.MarshalIndent(v, "", "  ")
	return string(text)
}
