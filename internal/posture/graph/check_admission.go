package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const admissionGroup = "admissionregistration.k8s.io"

func webhookKinds() []Kind {
	return []Kind{{admissionGroup, "ValidatingWebhookConfiguration"}, {admissionGroup, "MutatingWebhookConfiguration"}}
}

// engineKinds are the objects by which other policy engines guard pods.
func engineKinds() []Kind {
	return []Kind{
		{admissionGroup, "ValidatingAdmissionPolicyBinding"},
		{"kyverno.io", "ClusterPolicy"},
		{"kyverno.io", "Policy"},
		{"policies.kyverno.io", "ValidatingPolicy"},
		{"templates.gatekeeper.sh", "ConstraintTemplate"},
		{"policies.kubewarden.io", "ClusterAdmissionPolicy"},
	}
}

// engine gives an object of another policy engine that holds in a namespace, or
// nil.
func (ix *Index) engine(namespace string) *inventory.Object {
	for _, k := range engineKinds() {
		for _, o := range ix.Kind(k.Group, k.Kind) {
			switch {
			case k.Kind == "Policy" && space(o) != namespace:
			case k.Kind == "ValidatingAdmissionPolicyBinding" && !slices.Contains(texts(ix.content(o), "spec", "validationActions"), "Deny"):
			case k.Kind == "ClusterPolicy" && strings.EqualFold(cmp.Or(text(ix.content(o), "spec", "validationFailureAction"), "Audit"), "Audit") && !enforces(ix.content(o)):
			default:
				return o
			}
		}
	}
	return nil
}

// enforces reports whether a rule of a Kyverno policy enforces by itself.
func enforces(content map[string]any) bool {
	return slices.ContainsFunc(list(content, "spec", "rules"), func(r any) bool {
		return strings.EqualFold(text(r, "validate", "failureAction"), "Enforce")
	})
}

const podSecurity = "pod-security.kubernetes.io/"

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-without-pod-security", Title: "Nothing decides which pods a namespace admits", Severity: bulwark.SeverityHigh, Category: "namespaces",
		Why:         "Whoever may create a pod there may create a privileged one, and that is the node.",
		Remediation: "Label the namespace pod-security.kubernetes.io/enforce: restricted, or baseline where that breaks workloads.",
		References:  []string{"https://kubernetes.io/docs/concepts/security/pod-security-admission/"},
	},
	Reads: append(engineKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true, Across: true,
	Judge: perNamespace(func(ix *Index, name string, o *inventory.Object) control.Result {
		level := ix.namespaceLabels(name)[podSecurity+"enforce"]
		if level == "baseline" || level == "restricted" {
			return pass()
		}
		if e := ix.engine(name); e != nil {
			r := pass()
			r.Related = []bulwark.ObjectRef{e.ObjectRef}
			return r
		}
		what := "namespace " + name + " has no label " + podSecurity + "enforce"
		if level != "" {
			what = "namespace " + name + " enforces the level " + level
		}
		field := `metadata.labels["` + podSecurity + `enforce"]`
		r := fail(field, what+", and no policy engine is "+ix.here())
		if o.Kind != "Namespace" {
			r.Severity = ix.missing(bulwark.SeverityHigh) // its labels may well be set elsewhere
		}
		if o.Kind == "Namespace" && level == "" {
			r.Fix = []bulwark.Edit{{Field: field, Value: "baseline"}}
		}
		return r
	}),
})

// hook is one webhook of a configuration.
type hook struct {
	obj     *inventory.Object
	field   string
	content any
}

func (ix *Index) hooks(kinds []Kind) []hook {
	var out []hook
	for _, k := range kinds {
		for _, o := range ix.Kind(k.Group, k.Kind) {
			for i, h := range list(ix.content(o), "webhooks") {
				out = append(out, hook{o, item("webhooks", i), h})
			}
		}
	}
	return out
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "webhook-service-missing", Title: "An admission webhook calls a Service that does not exist", Severity: bulwark.SeverityMedium, Category: "admission",
		Why:         "Requests wait for it and then fail or, with failurePolicy Ignore, pass unchecked; whoever creates the Service sees and changes every object.",
		Remediation: "Delete the configuration, or bring the Service and its pods back.",
		References:  []string{"https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/"},
	},
	Reads: append(webhookKinds(), Kind{"", "Service"}), Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, h := range ix.hooks(webhookKinds()) {
			namespace, name := text(h.content, "clientConfig", "service", "namespace"), text(h.content, "clientConfig", "service", "name")
			r := pass()
			s := ix.service(namespace, name)
			switch {
			case name == "":
				r = skip("it is called by URL")
			case s == nil:
				r = fail(h.field+".clientConfig.service", "webhook "+text(h.content, "name")+": Service "+namespace+"/"+name+" is not "+ix.here())
				r.Severity = ix.missing(bulwark.SeverityMedium)
			case len(s.selector) > 0 && len(s.pods) == 0:
				r = fail(h.field+".clientConfig.service", "webhook "+text(h.content, "name")+": Service "+namespace+"/"+name+" selects no pod "+ix.here(), s.obj.ObjectRef)
				r.Severity = ix.missing(bulwark.SeverityMedium)
			}
			r.Key = text(h.content, "name")
			emit(h.obj, r)
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "admission-fails-open", Title: "All that guards pods lets them in when it does not answer", Severity: bulwark.SeverityMedium, Category: "admission",
		Why:         "Whoever can stop or slow down the webhook, by load or by deleting its pods, creates privileged pods meanwhile.",
		Remediation: "Set failurePolicy: Fail on the webhook that checks pods, with its own namespace left out, or enforce Pod Security Admission beside it.",
		References:  []string{"https://kubernetes.io/docs/concepts/cluster-administration/admission-webhooks-good-practices/"},
	},
	Reads: append(append(webhookKinds(), engineKinds()[:1]...), Kind{"", "Namespace"}), Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		var open []hook
		var bare []string
		closed := false
		for _, h := range ix.hooks(webhookKinds()[:1]) {
			if !guardsPods(h.content) {
				continue
			}
			if cmp.Or(text(h.content, "failurePolicy"), "Fail") == "Ignore" {
				open = append(open, h)
			} else {
				closed = true
			}
		}
		for _, name := range ix.namespaces() {
			level := ix.namespaceLabels(name)[podSecurity+"enforce"]
			if !system(name) && ix.workloads().spaces[name] != nil && level != "baseline" && level != "restricted" {
				bare = append(bare, name)
			}
		}
		for _, o := range ix.Kind(admissionGroup, "ValidatingAdmissionPolicyBinding") {
			closed = closed || slices.Contains(texts(ix.content(o), "spec", "validationActions"), "Deny")
		}
		for _, h := range open {
			r := pass()
			if !closed && len(bare) > 0 {
				r = fail(h.field+".failurePolicy", "webhook "+text(h.content, "name")+" has failurePolicy Ignore and nothing else guards pods in the namespaces "+some(bare))
			}
			r.Key = text(h.content, "name")
			emit(h.obj, r)
		}
	},
})

// guardsPods reports whether a webhook is asked when pods are created.
func guardsPods(h any) bool {
	return slices.ContainsFunc(list(h, "rules"), func(r any) bool {
		has := func(field, want string) bool {
			all := texts(r, field)
			return slices.Contains(all, want) || slices.Contains(all, "*")
		}
		return has("apiGroups", "") && has("resources", "pods") && has("operations", "CREATE")
	})
}
