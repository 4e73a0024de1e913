package audit

import (
	"encoding/json"
	"fmt"
	"slices"
)

// action is one thing that somebody does: requests of one user.
type action struct {
	name     string
	user     string // of users, or "" for nobody
	agent    string
	evil     bool
	requests []ask
}

// ask is one request.
type ask struct {
	method, path string
	body         string
	kind         string            // of the body; "" is application/json
	header       map[string]string // further fields
}

const (
	kubectl = "kubectl/v1.36.3 (linux/amd64) kubernetes/0000000"
	merge   = "application/merge-patch+json"
	space   = "shop"
)

// script gives all actions, in their order.
func script() []action {
	return slices.Concat(ordinary(), workloads(), execs(), rights(), secrets(), others())
}

func get(paths ...string) (out []ask) {
	for _, p := range paths {
		out = append(out, ask{method: "GET", path: p})
	}
	return out
}

func post(path, format string, args ...any) []ask {
	return []ask{{method: "POST", path: path, body: fmt.Sprintf(format, args...)}}
}

func patch(path, body string) []ask {
	return []ask{{method: "PATCH", path: path, body: body, kind: merge}}
}

func remove(path string) []ask { return []ask{{method: "DELETE", path: path}} }

func core(resource string) string { return "/api/v1/namespaces/" + space + "/" + resource }

func apps(resource string) string { return "/apis/apps/v1/namespaces/" + space + "/" + resource }

const cluster = "/apis/rbac.authorization.k8s.io/v1/"

// safe is the template of a pod that nobody minds.
const safe = `{"automountServiceAccountToken":false,"securityContext":{"runAsNonRoot":true,"runAsUser":1000,"seccompProfile":{"type":"RuntimeDefault"}},
 "containers":[{"name":"main","image":"bulwark.dev/control/pod@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","args":["serve"],"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}`

// kind is a kind of workload: where it is made, and around what.
type kind struct{ name, path, format string }

func kinds() []kind {
	template := `{"metadata":{"labels":{"app":"%[1]s"}},"spec":%[2]s}`
	scaled := `{"metadata":{"name":"%[1]s"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"%[1]s"}},"template":` + template + `}}`
	job := `{"backoffLimit":0,"suspend":true,"template":` + `{"metadata":{"labels":{"app":"%[1]s"}},"spec":%[3]s}` + `}`
	return []kind{
		{"pod", core("pods"), `{"metadata":{"name":"%[1]s"},"spec":%[2]s}`},
		{"deployment", apps("deployments"), scaled},
		{"replicaset", apps("replicasets"), scaled},
		{"statefulset", apps("statefulsets"), scaled},
		{"job", "/apis/batch/v1/namespaces/" + space + "/jobs", `{"metadata":{"name":"%[1]s"},"spec":` + job + `}`},
		{"cronjob", "/apis/batch/v1/namespaces/" + space + "/cronjobs", `{"metadata":{"name":"%[1]s"},"spec":{"schedule":"0 0 1 1 *","suspend":true,"jobTemplate":{"spec":` + job + `}}}`},
	}
}

func (k kind) with(name, pod string) []ask {
	// Jobs want to be told what to do when their pod ends.
	ending := `{"restartPolicy":"Never",` + pod[1:]
	return []ask{{method: "POST", path: k.path, body: fmt.Sprintf(k.format+"%.0[2]s%.0[3]s", name, pod, ending)}}
}

// ordinary is what people, tools and probes do all day.
func ordinary() []action {
	var out []action
	add := func(name, user, agent string, requests []ask) {
		out = append(out, action{name: name, user: user, agent: agent, requests: requests})
	}
	for _, user := range []string{"alice", "ops", "ci-bot"} {
		for _, p := range []string{
			core("pods"), core("services"), core("configmaps"), core("events"), core("endpoints"), core("persistentvolumeclaims"), core("serviceaccounts"), core("replicationcontrollers"),
			apps("deployments"), apps("replicasets"), apps("statefulsets"), apps("daemonsets"), "/apis/batch/v1/namespaces/" + space + "/jobs", "/apis/batch/v1/namespaces/" + space + "/cronjobs",
			"/apis/networking.k8s.io/v1/namespaces/" + space + "/ingresses", "/apis/networking.k8s.io/v1/namespaces/" + space + "/networkpolicies", "/apis/autoscaling/v2/namespaces/" + space + "/horizontalpodautoscalers",
			"/apis/policy/v1/namespaces/" + space + "/poddisruptionbudgets",
		} {
			add("list "+p, user, kubectl, get(p+"?limit=500"))
		}
		for _, p := range []string{core("pods/quiet"), core("pods/quiet/log?tailLines=5"), core("configmaps/kube-root-ca.crt"), core("services/quiet"), apps("deployments/quiet"), "/api/v1/namespaces/" + space} {
			add("get "+p, user, kubectl, get(p))
		}
		add("watch pods", user, kubectl, get(core("pods?watch=true&timeoutSeconds=1")))
		add("discovery", user, kubectl, get("/version", "/api", "/apis", "/apis/apps/v1", "/openapi/v3"))
		add("may I", user, kubectl, post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods","namespace":%q}}}`, space))
		add("configmap", user, kubectl, post(core("configmaps"), `{"metadata":{"name":"settings-%s"},"data":{"color":"blue"}}`, user))
		add("change configmap", user, kubectl, patch(core("configmaps/settings-"+user), `{"data":{"color":"green"}}`))
		add("delete configmap", user, kubectl, remove(core("configmaps/settings-"+user)))
		add("service", user, kubectl, post(core("services"), `{"metadata":{"name":"web-%s"},"spec":{"selector":{"app":"web"},"ports":[{"port":80}]}}`, user))
		add("delete service", user, kubectl, remove(core("services/web-"+user)))
		add("ingress with TLS", user, kubectl, post("/apis/networking.k8s.io/v1/namespaces/"+space+"/ingresses",
			`{"metadata":{"name":"web-%s"},"spec":{"tls":[{"hosts":["shop.example"],"secretName":"tls"}],"rules":[{"host":"shop.example","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}]}}`, user))
		for _, k := range kinds() {
			name := "safe-" + k.name + "-" + user
			if k.name == "cronjob" || k.name == "pod" {
				continue // a schedule made by hand is told of; a bare pod stands below
			}
			add("safe "+k.name, user, kubectl, k.with(name, safe))
			add("label "+k.name, user, kubectl, patch(k.path+"/"+name, `{"metadata":{"labels":{"team":"shop"}}}`))
			add("delete "+k.name, user, kubectl, remove(k.path+"/"+name))
		}
		add("scale", user, kubectl, patch(apps("deployments/quiet/scale"), `{"spec":{"replicas":1}}`))
		add("restart", user, kubectl, patch(apps("deployments/quiet"), `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-21T00:00:00Z"}}}}}`))
		add("dry run of a privileged pod", user, kubectl, []ask{{method: "POST", path: core("pods?dryRun=All"), body: fmt.Sprintf(`{"metadata":{"name":"dry"},"spec":%s}`, shapes()[0].pod)}})
	}
	for i, p := range []string{"/healthz", "/livez", "/readyz", "/version", "/livez?verbose", "/readyz/etcd", "/healthz", "/version", "/livez", "/readyz"} {
		add(fmt.Sprint("probe ", i), "", "kube-probe/1.36", get(p))
	}
	for i := range 24 {
		add(fmt.Sprint("poll ", i), "alice", kubectl, get(core("pods/quiet"), apps("deployments/quiet/status")))
	}
	return out
}

// shape is a pod that reaches for its node.
type shape struct{ name, pod string }

func shapes() []shape {
	pod := func(more, context string) string {
		return `{` + more + `"containers":[{"name":"main","image":"bulwark.dev/control/pod:1","args":["serve"]` + context + `}]}`
	}
	mount := func(path string) string {
		return pod(`"volumes":[{"name":"v","hostPath":{"path":"`+path+`"}}],`, `,"volumeMounts":[{"name":"v","mountPath":"/v"}]`)
	}
	return []shape{
		{"privileged", pod("", `,"securityContext":{"privileged":true}`)},
		{"privileged-init", pod(`"initContainers":[{"name":"first","image":"bulwark.dev/control/pod:1","securityContext":{"privileged":true}}],`, "")},
		{"host-pid", pod(`"hostPID":true,`, "")},
		{"host-network", pod(`"hostNetwork":true,`, "")},
		{"host-ipc", pod(`"hostIPC":true,`, "")},
		{"host-root", mount("/")},
		{"host-socket", mount("/run/containerd/containerd.sock")},
		{"host-kubelet", mount("/var/lib/kubelet")},
		{"sys-admin", pod("", `,"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}`)},
	}
}

// workloads are all shapes in all kinds.
func workloads() (out []action) {
	for _, s := range shapes() {
		for _, k := range kinds() {
			name := s.name + "-" + k.name
			out = append(out, action{name: name, user: "mallory", agent: kubectl, evil: true, requests: k.with(name, s.pod)})
		}
	}
	out = append(out,
		action{name: "privileged by patch", user: "mallory", agent: kubectl, evil: true, requests: patch(apps("deployments/quiet2"),
			`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"bulwark.dev/control/pod:1","securityContext":{"privileged":true}}]}}}}`)},
		action{name: "privileged by apply", user: "mallory", agent: kubectl, evil: true, requests: []ask{{
			method: "PATCH", path: core("pods/applied?fieldManager=x"), kind: "application/apply-patch+yaml",
			body: fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"applied"},"spec":%s}`, shapes()[0].pod),
		}}},
		action{name: "daemonset", user: "mallory", agent: kubectl, evil: true, requests: post(apps("daemonsets"),
			`{"metadata":{"name":"everywhere"},"spec":{"selector":{"matchLabels":{"app":"e"}},"template":{"metadata":{"labels":{"app":"e"}},"spec":%s}}}`, shapes()[0].pod)},
		action{name: "pod in kube-system", user: "mallory", agent: kubectl, evil: true, requests: post("/api/v1/namespaces/kube-system/pods", `{"metadata":{"name":"hidden"},"spec":%s}`, safe)},
		action{name: "ephemeral container", user: "mallory", agent: kubectl, evil: true, requests: patch(core("pods/quiet/ephemeralcontainers"),
			`{"spec":{"ephemeralContainers":[{"name":"debug","image":"bulwark.dev/control/pod:1","args":["serve"]}]}}`)},
	)
	return out
}

// quote gives a JSON string.
func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(raw)
}
