package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/match"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// decisionField has the authorizer's answer.
const decisionField = "annotations.authorization.k8s.io/decision"

// wordsOf lists all texts that a field can have in events of the API server, or nil
// where they cannot be listed.
func wordsOf(kinds []audit.Kind, field string) []string {
	switch field {
	case "kind":
		var out []string
		for _, k := range kinds {
			out = append(out, string(k))
		}
		return out
	case "succeeded":
		return []string{"true", "false"}
	}
	if !slices.Equal(kinds, []audit.Kind{audit.KindAPI}) {
		return nil
	}
	switch field {
	case "verb":
		// The last ones are methods of requests that are for no resource.
		return []string{
			"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
			"post", "put", "head", "options",
		}
	case "level":
		return Levels()
	case "stage":
		return []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
	case "responseStatus.status":
		return []string{"Success", "Failure"}
	case decisionField:
		return []string{"allow", "forbid"}
	}
	return nil
}

// notVerbs says why people look for a verb that no event has.
func notVerbs(verb string) string {
	switch strings.ToLower(verb) {
	case "exec", "attach", "portforward", "port-forward", "connect":
		return "; exec, attach and port-forward are create with objectRef.subresource exec, attach, portforward"
	case "replace", "edit", "apply", "modify":
		return "; it is update or patch"
	case "impersonate", "bind", "escalate", "approve", "sign", "use":
		return "; it is a verb of roles, not of requests"
	case "remove":
		return "; it is delete"
	}
	return ""
}

// neverValue says why a field never has a value, or gives nil.
func neverValue(kinds []audit.Kind, it *sigma.Item, v sigma.Value) *reason {
	never := func(format string, args ...any) *reason {
		return &reason{v.Line, fmt.Sprintf("%s is never %q%s", it.Field, v.Written, fmt.Sprintf(format, args...))}
	}
	if it.Unit != "" || len(v.Tests) == 0 {
		return nil
	}
	for _, t := range v.Tests {
		if t.Kind == sigma.KindNull || t.Kind == sigma.KindExists || t.Kind == sigma.KindFieldRef || len(t.Pattern.Placeholders()) > 0 {
			return nil
		}
	}
	if words := wordsOf(kinds, it.Field); words != nil {
		if slices.ContainsFunc(words, func(w string) bool { return match.Meets(it, v, w) }) {
			return nil
		}
		if it.Field == "verb" {
			return never("%s", notVerbs(v.Written))
		}
		return never("; it is one of %s", strings.Join(words, ", "))
	}
	switch it.Field {
	case "responseStatus.code":
		for code := 100; code < 600; code++ {
			if match.Meets(it, v, strconv.Itoa(code)) {
				return nil
			}
		}
		return never("; it is a number of HTTP. Whether a request was let through is in %s, how it ended in succeeded", decisionField)
	case "objectRef.resource":
		return neverResource(it, v, never)
	}
	return nil
}

// neverResource knows what resources are not called. Custom ones may have any name, so
// only what breaks the form or is a near miss of a built-in one is told.
func neverResource(it *sigma.Item, v sigma.Value, never func(string, ...any) *reason) *reason {
	text, literal := v.Tests[0].Pattern.Literal()
	if v.Tests[0].Kind != sigma.KindPattern || !literal {
		return nil
	}
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(text, "/"):
		return never("; the part after the slash is objectRef.subresource")
	case it.Cased && lower != text:
		return never("; resources are written in small letters")
	}
	if slices.Contains(resources(), lower) {
		return nil
	}
	for _, plural := range resources() {
		if lower+"s" == plural || lower+"es" == plural || strings.TrimSuffix(lower, "y")+"ies" == plural {
			return never("; resources are plural: %s", plural)
		}
	}
	return nil
}

// resources are the plural names of the API server's own.
func resources() []string {
	return []string{
		"bindings", "componentstatuses", "configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes",
		"persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "replicationcontrollers", "resourcequotas",
		"secrets", "serviceaccounts", "services", "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
		"mutatingadmissionpolicybindings", "customresourcedefinitions", "apiservices", "controllerrevisions", "daemonsets",
		"deployments", "replicasets", "statefulsets", "tokenreviews", "selfsubjectreviews", "localsubjectaccessreviews",
		"selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews", "horizontalpodautoscalers", "cronjobs",
		"jobs", "certificatesigningrequests", "clustertrustbundles", "leases", "endpointslices", "flowschemas",
		"prioritylevelconfigurations", "ingressclasses", "ingresses", "networkpolicies", "runtimeclasses",
		"poddisruptionbudgets", "podsecuritypolicies", "clusterrolebindings", "clusterroles", "rolebindings", "roles",
		"priorityclasses", "csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments",
		"volumeattributesclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices", "deviceclasses",
		"ipaddresses", "servicecidrs",
	}
}
