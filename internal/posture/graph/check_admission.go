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
	Reads: append(engineKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, name := range ix.namespaces() {
			o := ix.namespaceObject(name)
			if o == nil {
				continue
			}
			r := ix.podLevel(name, o)
			if o.Kind != "Namespace" {
				r.Key, r.Field = "namespace "+name, ""
			}
			emit(o, r)
		}
	},
})

// podLevel judges the Pod Security level of a namespace, also of one in which
// nothing runs yet: whoever may create a pod there needs no other.
func (ix *Index) podLevel(name string, o *inventory.Object) control.Result {
	level := ix.namespaceLabels(name)[podSecurity+"enforce"]
	switch {
	case system(name):
		return skip("the namespace belongs to Kubernetes itself")
	case level == "baseline" || level == "restricted":
		return pass()
	case level == "privileged":
		return skip("its label allows privileged pods, which another control reports")
	}
	if e := ix.engine(name); e != nil {
		r := pass()
		r.Related = []bulwark.ObjectRef{e.ObjectRef}
		return r
	}
	what := "namespace " + name + " has no label " + podSecurity + "enforce"
	if level != "" {
		what = "namespace " + name + " enforces the level " + level + ", which does not exist"
	}
	field := `metadata.labels["` + podSecurity + `enforce"]`
	r := fail(field, what+", and no policy engine is "+ix.here())
	switch {
	case o.Kind != "Namespace":
		r.Severity = ix.missing(bulwark.SeverityHigh) // its labels may well be set elsewhere
		return r
	case ix.workloads().spaces[name] == nil:
		r.Severity = bulwark.SeverityMedium
	}
	r.Fix = []bulwark.Edit{{Field: field, Value: "baseline"}}
	return r
}

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
	Reads: append(append(webhookKinds(), admissionPolicyKinds()...), Kind{"", "Namespace"}), Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		var open []hook
		shields := ix.policyShields()
		for _, h := range ix.hooks(webhookKinds()[:1]) {
			switch {
			case !guardsPods(list(h.content, "rules")):
			case cmp.Or(text(h.content, "failurePolicy"), "Fail") == "Ignore":
				open = append(open, h)
			default:
				if s := newShield(h.content); s != nil {
					shields = append(shields, s)
				}
			}
		}
		var bare []string
		for _, name := range ix.namespaces() {
			given := ix.namespaceLabels(name)
			level := given[podSecurity+"enforce"]
			if !system(name) && ix.workloads().spaces[name] != nil && level != "baseline" && level != "restricted" &&
				!slices.ContainsFunc(shields, func(s shield) bool { return s.covers(given) }) {
				bare = append(bare, name)
			}
		}
		for _, h := range open {
			asked := namespaceSelector(h.content)
			var left []string
			for _, name := range bare {
				if asked.matches(ix.namespaceLabels(name)) {
					left = append(left, name)
				}
			}
			r := pass()
			if len(left) > 0 {
				r = fail(h.field+".failurePolicy", "webhook "+text(h.content, "name")+" has failurePolicy Ignore and nothing else guards pods in the namespaces "+some(left))
			}
			r.Key = text(h.content, "name")
			emit(h.obj, r)
		}
	},
})

func admissionPolicyKinds() []Kind {
	return []Kind{{admissionGroup, "ValidatingAdmissionPolicy"}, {admissionGroup, "ValidatingAdmissionPolicyBinding"}}
}

// shield is something that refuses pods for certain, in the namespaces that all its
// selectors fit.
type shield []selector

func (s shield) covers(labels map[string]string) bool {
	return !slices.ContainsFunc(s, func(one selector) bool { return !one.matches(labels) })
}

// newShield gives what a webhook, or the match of a policy, covers; nil where whoever
// writes the pod gets around it by its labels. What its matchConditions leave out
// is not known here and taken for meant.
func newShield(match any) shield {
	if objects := fields(match, "objectSelector"); len(fields(objects, "matchLabels"))+len(list(objects, "matchExpressions")) > 0 {
		return nil
	}
	return shield{namespaceSelector(match)}
}

func namespaceSelector(match any) selector {
	if given := at(match, "namespaceSelector"); given != nil {
		return parseSelector(given, nil)
	}
	return selector{}
}

// policyShields gives the ValidatingAdmissionPolicies that are bound and refuse pods.
func (ix *Index) policyShields() []shield {
	var out []shield
	for _, o := range ix.Kind(admissionGroup, "ValidatingAdmissionPolicyBinding") {
		bound := fields(ix.content(o), "spec")
		if !slices.Contains(texts(bound, "validationActions"), "Deny") {
			continue
		}
		policy := ix.Find(admissionGroup, "ValidatingAdmissionPolicy", "", text(bound, "policyName"))
		if policy == nil {
			continue
		}
		match, narrower := at(ix.content(policy), "spec", "matchConstraints"), at(bound, "matchResources")
		rules := list(narrower, "resourceRules")
		a, b := newShield(match), newShield(narrower)
		if a != nil && b != nil && guardsPods(list(match, "resourceRules")) && (len(rules) == 0 || guardsPods(rules)) {
			out = append(out, append(a, b...))
		}
	}
	return out
}

// guardsPods reports whether rules ask for pods when they are created.
func guardsPods(rules []any) bool {
	return slices.ContainsFunc(rules, func(r any) bool {
		has := func(field string, want ...string) bool {
			return slices.ContainsFunc(texts(r, field), func(s string) bool { return s == "*" || slices.Contains(want, s) })
		}
		return has("apiGroups", "") && has("resources", "pods", "*/*") && has("operations", "CREATE") && text(r, "scope") != "Cluster"
	})
}
