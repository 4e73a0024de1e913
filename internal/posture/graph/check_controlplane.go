package graph

import (
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// flag gives the last value of a flag in a command line; ok says that it is there.
func flag(args []string, name string) (value string, ok bool) {
	for i, a := range args {
		a, dashed := strings.CutPrefix(a, "-")
		if !dashed {
			continue
		}
		a = strings.TrimPrefix(a, "-")
		if a == name {
			value, ok = "true", true
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				value = args[i+1]
			}
		} else if v, found := strings.CutPrefix(a, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// perServer judges each API server's pod that names a file in a flag; the file is
// a configuration object, if anybody gave it.
func perServer(name, group, kind string, judge func(o *inventory.Object, content map[string]any) string) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			for _, c := range w.containers {
				if component(c.image) != "kube-apiserver" {
					continue
				}
				path, set := flag(c.args, name)
				all := ix.Kind(group, kind)
				r := pass()
				switch {
				case !set || path == "":
					r = skip("--" + name + " is not set, which another control reports")
				case len(all) == 0:
					r = unknown("--" + name + " names " + path + ", which is a file of the node; give that file to the scan too")
				default:
					for _, o := range all {
						if why := judge(o, ix.content(o)); why != "" {
							r = fail(c.path+".command", "--"+name+" is set, and "+o.Kind+" "+o.Name+" "+why, o.ObjectRef)
						}
					}
				}
				r.Container, r.Key = c.name, name
				emit(w.obj, r)
			}
		}
	}
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "encryption-configuration-ineffective", Title: "The encryption configuration of the API server leaves Secrets in plain text", Severity: bulwark.SeverityHigh, Category: "control-plane",
		Why:         "The flag is set and looks right, and whoever reads etcd or a backup of it reads every Secret.",
		Remediation: "Put kms or a secretbox provider first for secrets in the file, restart the API server, then rewrite all Secrets.",
		References:  []string{"https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/"},
	},
	Reads: []Kind{{"apiserver.config.k8s.io", "EncryptionConfiguration"}}, Pods: true, Across: true, Local: true,
	Judge: perServer("encryption-provider-config", "apiserver.config.k8s.io", "EncryptionConfiguration", func(_ *inventory.Object, content map[string]any) string {
		for _, r := range list(content, "resources") {
			names := texts(r, "resources")
			if !slices.Contains(names, "secrets") && !slices.Contains(names, "*.*") && !slices.Contains(names, "*.") {
				continue
			}
			providers := list(r, "providers")
			if len(providers) == 0 || at(providers[0], "identity") != nil {
				return "has identity, which is no encryption, as the first provider for secrets"
			}
			return ""
		}
		return "does not name secrets"
	}),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "audit-policy-ineffective", Title: "The audit policy of the API server records nothing that helps", Severity: bulwark.SeverityHigh, Category: "control-plane",
		Why:         "The flag is set and looks right, and nobody can say afterwards who read which Secret or ran what.",
		Remediation: "End the policy with a rule of level Metadata for everything, and let only rules for noise say None.",
		References:  []string{"https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/"},
	},
	Reads: []Kind{{"audit.k8s.io", "Policy"}}, Pods: true, Across: true, Local: true,
	Judge: perServer("audit-policy-file", "audit.k8s.io", "Policy", func(_ *inventory.Object, content map[string]any) string {
		records, skipped := false, texts(content, "omitStages")
		for _, r := range list(content, "rules") {
			if text(r, "level") == "None" && fitsAll(r) {
				if !records {
					return "drops everything by its first rule that fits all"
				}
				return ""
			}
			keeps := slices.ContainsFunc([]string{"RequestReceived", "ResponseComplete"}, func(stage string) bool {
				return !slices.Contains(skipped, stage) && !slices.Contains(texts(r, "omitStages"), stage)
			})
			records = records || keeps && slices.Contains([]string{"Metadata", "Request", "RequestResponse"}, text(r, "level"))
		}
		if !records {
			return "has no rule that records anything"
		}
		return ""
	}),
})

// fitsAll reports whether a rule of an audit policy fits every request to the API,
// or of everybody who signed in. Lists that are empty limit nothing.
func fitsAll(rule any) bool {
	groups, resources := texts(rule, "userGroups"), list(rule, "resources")
	if len(list(rule, "users"))+len(list(rule, "verbs"))+len(list(rule, "namespaces")) > 0 || len(groups) > 0 && !slices.Contains(groups, "system:authenticated") {
		return false
	}
	if len(resources) == 0 {
		return len(list(rule, "nonResourceURLs")) == 0
	}
	return slices.ContainsFunc(resources, func(r any) bool {
		names := texts(r, "resources")
		return text(r, "group") == "*" && (len(names) == 0 || slices.Contains(names, "*") && len(list(r, "resourceNames")) == 0)
	})
}
