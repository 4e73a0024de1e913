package chart

import (
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

const webhook = "bulwark-admission"

// The webhook is there when it is asked for only, meets the restricted standard,
// has no token, and cannot keep its own pods from starting.
func TestAdmission(t *testing.T) {
	for _, o := range decode(t, render(t, options(t))) {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == webhook {
			t.Error("the webhook is there without being asked for")
		}
		if _, ok := o.(*admissionregistrationv1.ValidatingWebhookConfiguration); ok {
			t.Error("the API server is told of a webhook that is not there")
		}
	}
	objects := decode(t, render(t, options(t, "admission.enabled=true", "admission.certificateSecret=webhook", "admission.exemptNamespaces={storage}")))
	pod := named[*appsv1.Deployment](t, objects, webhook).Spec.Template
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if !verdict.Allowed {
		t.Error(verdict.ForbiddenDetail())
	}
	if ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) || pod.Spec.ServiceAccountName != webhook {
		t.Error("the webhook has a token, or another's account")
	}
	args := strings.Join(pod.Spec.Containers[0].Args, " ")
	for _, want := range []string{"serve admission", "--deny-at=high", "--unknown=refuse", "--dry-run", "--exempt-namespace=storage"} {
		if !strings.Contains(args, want) {
			t.Errorf("arguments %q lack %q", args, want)
		}
	}
	if v := pod.Spec.Volumes; len(v) != 1 || v[0].Secret == nil || v[0].Secret.SecretName != "webhook" {
		t.Errorf("volumes %+v", v)
	}
	hook := named[*admissionregistrationv1.ValidatingWebhookConfiguration](t, objects, webhook).Webhooks[0]
	if *hook.FailurePolicy != admissionregistrationv1.Fail || *hook.SideEffects != admissionregistrationv1.SideEffectClassNone {
		t.Errorf("webhook %+v", hook)
	}
	exempt := hook.NamespaceSelector.MatchExpressions[0]
	if exempt.Key != "kubernetes.io/metadata.name" || !slices.Equal(exempt.Values, []string{ns, "storage"}) {
		t.Errorf("exempt are %+v", exempt)
	}
	service := named[*corev1.Service](t, objects, webhook)
	if c := hook.ClientConfig.Service; c.Namespace != service.Namespace || c.Name != service.Name || *c.Port != service.Spec.Ports[0].Port || *c.Path != "/validate" {
		t.Errorf("the API server calls %+v", c)
	}
	if _, err := Render(options(t, "admission.enabled=true")); err == nil || !strings.Contains(err.Error(), "admission.certificateSecret") {
		t.Errorf("without a certificate: %v", err)
	}
}
