package graph

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
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

// pluginOn reports whether an API server has an admission plugin on by its flags.
func pluginOn(args []string, plugin string) bool {
	on, _ := flag(args, "enable-admission-plugins")
	off, _ := flag(args, "disable-admission-plugins")
	return slices.Contains(strings.Split(on, ","), plugin) && !slices.Contains(strings.Split(off, ","), plugin)
}

func writesEndpoints(rules []rbacv1.PolicyRule) bool {
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 {
			continue
		}
		for _, verb := range []string{"create", "update", "patch"} {
			if rights.Allows(&rules[i], verb, "", "endpoints") || rights.Allows(&rules[i], verb, "discovery.k8s.io", "endpointslices") {
				return true
			}
		}
	}
	return false
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
	Reads: []Kind{{"apiserver.config.k8s.io", "EncryptionConfiguration"}}, Pods: true, Across: true,
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
	Reads: []Kind{{"audit.k8s.io", "Policy"}}, Pods: true, Across: true,
	Judge: perServer("audit-policy-file", "audit.k8s.io", "Policy", func(_ *inventory.Object, content map[string]any) string {
		records := false
		for _, r := range list(content, "rules") {
			whole := len(fields(r)) == 1 || len(fields(r)) == 2 && at(r, "omitStages") != nil
			if text(r, "level") == "None" && whole {
				if !records {
					return "drops everything by its first rule that fits all"
				}
				return ""
			}
			records = records || slices.Contains([]string{"Metadata", "Request", "RequestResponse"}, text(r, "level"))
		}
		if !records {
			return "has no rule that records anything"
		}
		return ""
	}),
})
