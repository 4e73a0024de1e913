package app

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/exception"
)

// webhookFlags are what the API server must know of the webhook.
type webhookFlags struct {
	service       string
	caBundle      string
	failurePolicy string
}

func (f *webhookFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.service, "service", "bulwark-system/bulwark-admission", "with --print-configuration: the webhook's Service, as NAMESPACE/NAME[:PORT]")
	fl.StringVar(&f.caBundle, "ca-bundle", "", "with --print-configuration: file with the authority of --tls-cert; without it somebody else puts it in, as cert-manager does")
	fl.StringVar(&f.failurePolicy, "failure-policy", "Fail", "with --print-configuration: what the API server does when the webhook does not answer, Fail or Ignore")
}

// printConfiguration prints how the API server is told to call the webhook.
func printConfiguration(env *Env, f *admissionFlags) error {
	if _, err := f.settings(env, nil); err != nil {
		return badUse(err)
	}
	c, err := f.webhook.configuration(f)
	if err != nil {
		return badUse(err)
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if _, err := env.Stdout.Write(text); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return nil
}

func (f *webhookFlags) configuration(a *admissionFlags) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	if err := oneOf("failure-policy", f.failurePolicy, "Fail", "Ignore"); err != nil {
		return nil, err
	}
	namespace, name, ok := strings.Cut(f.service, "/")
	name, portText, hasPort := strings.Cut(name, ":")
	port := int32(443)
	if hasPort {
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("--service %q: %q is no port", f.service, portText)
		}
		port = int32(n)
	}
	if !ok || namespace == "" || name == "" {
		return nil, fmt.Errorf("--service %q: expected NAMESPACE/NAME", f.service)
	}
	for _, exempt := range a.namespaces {
		if len(validation.IsDNS1123Label(exempt)) > 0 {
			return nil, fmt.Errorf("--exempt-namespace %q is no name of a namespace", exempt)
		}
	}
	var bundle []byte
	if f.caBundle != "" {
		text, err := os.ReadFile(f.caBundle)
		if err != nil {
			return nil, fmt.Errorf("--ca-bundle: %w", err)
		}
		if err := certificates(text); err != nil {
			return nil, fmt.Errorf("--ca-bundle %s: %w", f.caBundle, err)
		}
		bundle = text
	}
	fail, none, equivalent, scope := admissionregistrationv1.FailurePolicyType(f.failurePolicy), admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Equivalent, admissionregistrationv1.AllScopes
	seconds := int32(max(1, min(30, (2*a.timeout)/time.Second)))
	path := "/validate"
	hook := admissionregistrationv1.ValidatingWebhook{
		Name:          "controls.bulwark.dev",
		ClientConfig:  admissionregistrationv1.WebhookClientConfig{CABundle: bundle, Service: &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: name, Path: &path, Port: &port}},
		FailurePolicy: &fail, SideEffects: &none, MatchPolicy: &equivalent, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
		// The webhook's own pods must start while it does not answer.
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: append([]string{namespace}, a.namespaces...),
		}}},
	}
	for _, group := range judgedGroups() {
		hook.Rules = append(hook.Rules, admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group.name}, APIVersions: []string{"*"}, Resources: group.resources, Scope: &scope},
		})
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: "bulwark-admission", Labels: map[string]string{"app.kubernetes.io/name": "bulwark", "app.kubernetes.io/component": "admission"}},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{hook},
	}, nil
}

type groupRule struct {
	name      string
	resources []string
}

// judgedGroups are the kinds that the API server asks about. Left out is what a
// cluster needs while no pod of the webhook runs: a node must be able to renew its
// Lease, to ask for a certificate and to join, or there is none for the pod to run on;
// and Services must learn which pods are gone. The chart has the same list.
func judgedGroups() []groupRule {
	all := []string{"*"}
	return []groupRule{
		{"", []string{
			"pods", "pods/ephemeralcontainers", "pods/resize", "podtemplates", "replicationcontrollers", "services", "services/status", "configmaps", "secrets",
			"serviceaccounts", "namespaces", "namespaces/status", "namespaces/finalize",
			"persistentvolumes", "persistentvolumeclaims", "resourcequotas", "limitranges",
		}},
		{"apps", all},
		{"batch", all},
		{"autoscaling", all},
		{"policy", all},
		{"networking.k8s.io", []string{"*", "ingresses/status"}},
		{"rbac.authorization.k8s.io", all},
		{"storage.k8s.io", []string{"storageclasses", "csidrivers"}}, // not CSINode, which a node needs to join
		{"snapshot.storage.k8s.io", all},
		{"apiregistration.k8s.io", all},
		{"gateway.networking.k8s.io", all},
		{"bulwark.dev", all},
		{"security.istio.io", all},
		{"networking.istio.io", all},
		{"policy.linkerd.io", all},
		{"cilium.io", all},
		{"projectcalico.org", all},
		{"crd.projectcalico.org", all},
		{"policy.networking.k8s.io", all},
		{"argoproj.io", all},
		{"serving.knative.dev", all},
		{"velero.io", all},
	}
}

func certificates(text []byte) error {
	n := 0
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("it has a %s: only certificates belong here", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("read a certificate: %w", err)
		}
		n, text = n+1, rest
	}
	if n == 0 {
		return errors.New("no certificate in it")
	}
	return nil
}

// excepted gives what tells which exception of the files covers a finding. What
// does not hold now is told at once, not when a request comes.
func excepted(env *Env, files, never []string) (func(*inventory.Object, control.Meta, control.Result) string, error) {
	var all []*exception.PostureException
	for _, file := range files {
		text, err := readBounded(file)
		if err != nil {
			return nil, fmt.Errorf("--exceptions: %w", err)
		}
		some, err := exception.Parse(file, text)
		if err != nil {
			return nil, fmt.Errorf("--exceptions: %w", err)
		}
		all = append(all, some...)
	}
	return func(o *inventory.Object, m control.Meta, r control.Result) string {
		if len(all) == 0 {
			return ""
		}
		one := posture.Report{Findings: []bulwark.Finding{{
			Control: m.ID, Severity: m.Severity, Verdict: r.Verdict, Object: o.ObjectRef, Field: r.Field, Container: r.Container,
		}}}
		labels := func(bulwark.ObjectRef) map[string]string { return o.Labels }
		exception.Apply(&one, labels, all, nil, exception.Options{Now: env.Now(), Never: never})
		for _, f := range one.Findings {
			if f.Control == m.ID && f.Verdict == bulwark.VerdictExcepted {
				return f.Exception
			}
		}
		return ""
	}, nil
}
