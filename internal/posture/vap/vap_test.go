package vap_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/posture/vap"
)

func policy(t *testing.T, spec string) *admissionregistrationv1.ValidatingAdmissionPolicy {
	t.Helper()
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "test"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

func configMap(name string, data map[string]any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "shop"}, "data": data}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const spec = `
matchConditions: [{name: c, expression: 'object.metadata.name != "skipped"'}]
variables: [{name: a, expression: 'object.data.a'}]
validations:
- {expression: 'variables.a != "bad"', messageExpression: '"a is " + variables.a'}
- {expression: 'request.operation == "CREATE" || oldObject.data.a == variables.a', message: a may not change}
- {expression: '!has(namespaceObject.metadata.labels) || namespaceObject.metadata.labels.closed != "yes"', message: the namespace is closed}
`
	closed := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"closed": "yes"}}}
	open := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	p, err := vap.Compile(policy(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request                 vap.Request
		applies, denied, failed bool
		message                 string
	}{
		"passes":    {vap.Request{Object: configMap("x", map[string]any{"a": "good"}), Namespace: open}, true, false, false, ""},
		"denied":    {vap.Request{Object: configMap("x", map[string]any{"a": "bad"}), Namespace: open}, true, true, false, "a is bad"},
		"skipped":   {vap.Request{Object: configMap("skipped", map[string]any{"a": "bad"}), Namespace: open}, false, false, false, ""},
		"fails":     {vap.Request{Object: configMap("x", nil), Namespace: open}, true, false, true, "no such key: a"},
		"namespace": {vap.Request{Object: configMap("x", map[string]any{"a": "good"}), Namespace: closed}, true, true, false, "the namespace is closed"},
		"update":    {vap.Request{Object: configMap("x", map[string]any{"a": "b"}), Old: configMap("x", map[string]any{"a": "c"}), Namespace: open}, true, true, false, "a may not change"},
		"same":      {vap.Request{Object: configMap("x", map[string]any{"a": "b"}), Old: configMap("x", map[string]any{"a": "b"}), Namespace: open}, true, false, false, ""},
	} {
		c.request.Resource = "configmaps"
		got := p.Judge(t.Context(), c.request)
		if got.Applies != c.applies || got.Denied != c.denied || got.Failed != c.failed || !strings.Contains(strings.Join(got.Messages, "\n"), c.message) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for want, spec := range map[string]string{
		"validations":       `validations: [{expression: 'object.'}]`,
		"variable a":        `{variables: [{name: a, expression: 'nothing'}], validations: [{expression: 'true'}]}`,
		"matchConditions":   `{matchConditions: [{name: c, expression: '1'}], validations: [{expression: 'true'}]}`,
		"messageExpression": `validations: [{expression: 'true', messageExpression: '1 +'}]`,
		"authorizer":        `validations: [{expression: 'authorizer.requestResource.check("get").allowed()'}]`,
		"params":            `validations: [{expression: 'params.a == 1'}]`,
	} {
		if _, err := vap.Compile(policy(t, spec)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}
