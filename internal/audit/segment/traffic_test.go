package segment

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// traffic makes what an API server of a middle-sized cluster says in its audit log at
// level Metadata: kubelets and their leases, controllers, operators, watches that are
// renewed, and a few people.
type traffic struct {
	rand     *rand.Rand
	now      time.Time
	received time.Time
	version  int
	clients  []client
}

type client struct {
	name    string
	groups  []string
	agent   string
	ip      string
	extra   map[string][]string
	weight  int
	act     func(t *traffic, c *client, e *audit.Event)
	reason  string
	objects []object
}

type object struct{ namespace, name, uid string }

func (t *traffic) uuid() string {
	var id [16]byte
	for i := range id {
		id[i] = byte(t.rand.Uint32())
	}
	id[6], id[8] = id[6]&15|0x40, id[8]&63|0x80
	return formatUUID(id[:])
}

func (t *traffic) suffix(n int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[t.rand.IntN(len(letters))]
	}
	return string(b)
}

func newTraffic(seed uint64) *traffic {
	t := &traffic{
		rand: rand.New(rand.NewPCG(seed, 5)), now: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), version: 91_482_113,
	}
	namespaces := []string{"kube-system", "shop", "payments", "monitoring", "argocd", "istio-system", "ci", "data", "search", "web"}
	var pods []object
	for i := range 900 {
		pods = append(pods, object{
			namespaces[i%len(namespaces)],
			fmt.Sprintf("%s-%s-%s", []string{"cart", "api", "worker", "front", "batch", "ledger"}[t.rand.IntN(6)], t.suffix(9), t.suffix(5)), t.uuid(),
		})
	}
	for i := range 120 { // kubelets
		node := fmt.Sprintf("ip-10-0-%d-%d.eu-west-1.compute.internal", i%8, 10+i)
		c := client{
			name: "system:node:" + node, groups: []string{"system:nodes", "system:authenticated"},
			agent: "kubelet/v1.33.4 (linux/amd64) kubernetes/74cdb42", ip: fmt.Sprintf("10.0.%d.%d", i%8, 10+i),
			weight: 4, act: kubelet, reason: "",
		}
		c.objects = append(c.objects, object{"kube-node-lease", node, t.uuid()})
		for range 8 {
			c.objects = append(c.objects, pods[t.rand.IntN(len(pods))])
		}
		t.clients = append(t.clients, c)
	}
	for i := range 90 { // controllers and operators, in pods
		ns := namespaces[i%len(namespaces)]
		name := fmt.Sprintf("%s-%d", []string{"operator", "controller", "exporter", "injector", "syncer"}[i%5], i)
		pod := name + "-" + t.suffix(10) + "-" + t.suffix(5)
		c := client{
			name:   "system:serviceaccount:" + ns + ":" + name,
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
			agent:  fmt.Sprintf("%s/v0.%d.1 (linux/amd64) kubernetes/$Format", name, i), ip: fmt.Sprintf("10.2.%d.%d", i%16, i),
			extra: map[string][]string{
				"authentication.kubernetes.io/credential-id": {"JTI=" + t.uuid()},
				"authentication.kubernetes.io/node-name":     {t.clients[i].objects[0].name},
				"authentication.kubernetes.io/node-uid":      {t.uuid()},
				"authentication.kubernetes.io/pod-name":      {pod},
				"authentication.kubernetes.io/pod-uid":       {t.uuid()},
			},
			weight: 5, act: controller,
			reason: fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of ClusterRole %q to ServiceAccount %q", name, name, name+"/"+ns),
		}
		c.objects = append(c.objects, object{ns, name + "-leader", t.uuid()})
		for range 12 {
			c.objects = append(c.objects, pods[t.rand.IntN(len(pods))])
		}
		t.clients = append(t.clients, c)
	}
	for _, name := range []string{"system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"} {
		t.clients = append(t.clients, client{
			name: name, groups: []string{"system:authenticated"}, agent: "kube-controller-manager/v1.33.4 (linux/amd64) kubernetes/74cdb42/leader-election",
			ip: "10.0.0.4", weight: 60, act: controller, objects: append([]object{{"kube-system", name[7:], t.uuid()}}, pods...),
			reason: fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of ClusterRole %q to User %q", name, name, name),
		})
	}
	for i := range 25 { // people
		t.clients = append(t.clients, client{
			name: fmt.Sprintf("person%d@example.com", i), groups: []string{"oidc:developers", fmt.Sprintf("oidc:team-%d", i%6), "system:authenticated"},
			agent: fmt.Sprintf("kubectl/v1.3%d.%d (darwin/arm64) kubernetes/%s", i%4, i%7, hex.EncodeToString([]byte{byte(i), 7, 9})),
			ip:    fmt.Sprintf("192.0.2.%d", i), weight: 1, act: person, objects: pods,
			reason: `RBAC: allowed by RoleBinding "developers/shop" of ClusterRole "view" to Group "oidc:developers"`,
		})
	}
	return t
}

func kubelet(t *traffic, c *client, e *audit.Event) {
	lease, pod := c.objects[0], c.objects[1+t.rand.IntN(len(c.objects)-1)]
	switch n := t.rand.IntN(20); {
	case n < 9:
		t.on(e, "update", "/apis/coordination.k8s.io/v1", "coordination.k8s.io", "leases", "", lease, "timeout=10s")
		e.Object.UID, e.Object.ResourceVersion = lease.uid, t.recent()
	case n < 11:
		t.on(e, "patch", "/api/v1", "", "nodes", "status", object{name: lease.name}, "timeout=10s")
	case n < 14:
		t.on(e, "patch", "/api/v1", "", "pods", "status", pod, "")
	case n < 15:
		t.on(e, "get", "/api/v1", "", "nodes", "", object{name: lease.name}, "resourceVersion=0&timeout=10s")
	case n < 17:
		t.watch(e, "/api/v1", "", "configmaps", pod.namespace, "fieldSelector=metadata.name%3Dkube-root-ca.crt")
	case n < 18:
		t.watch(e, "/api/v1", "", "secrets", pod.namespace, "fieldSelector=metadata.name%3Dregistry-pull")
	case n < 19:
		t.on(e, "create", "/api/v1", "", "serviceaccounts", "token", object{pod.namespace, "default", ""}, "")
		e.Status.Code = 201
	default:
		t.on(e, "get", "/api/v1", "", "pods", "", pod, "")
	}
}

func controller(t *traffic, c *client, e *audit.Event) {
	lease, pod := c.objects[0], c.objects[1+t.rand.IntN(len(c.objects)-1)]
	switch n := t.rand.IntN(20); {
	case n < 5:
		t.on(e, "get", "/apis/coordination.k8s.io/v1", "coordination.k8s.io", "leases", "", lease, "timeout=5s")
	case n < 10:
		t.on(e, "update", "/apis/coordination.k8s.io/v1", "coordination.k8s.io", "leases", "", lease, "timeout=5s")
		e.Object.UID, e.Object.ResourceVersion = lease.uid, t.recent()
	case n < 12:
		t.watch(e, "/apis/apps/v1", "apps", "deployments", "", "allowWatchBookmarks=true")
	case n < 13:
		t.watch(e, "/api/v1", "", "pods", "", "allowWatchBookmarks=true")
	case n < 15:
		t.on(e, "create", "/apis/events.k8s.io/v1", "events.k8s.io", "events", "", object{namespace: pod.namespace, name: pod.name + "." + hex.EncodeToString([]byte(t.suffix(8)))}, "")
		e.Status.Code = 201
	case n < 17:
		t.on(e, "update", "/apis/apps/v1", "apps", "replicasets", "status", object{pod.namespace, pod.name[:len(pod.name)-6], ""}, "")
		e.Object.UID, e.Object.ResourceVersion = pod.uid, t.recent()
	case n < 18:
		t.on(e, "get", "/api/v1", "", "secrets", "", object{pod.namespace, "tls-" + pod.namespace, ""}, "")
	case n < 19:
		t.on(e, "list", "/api/v1", "", "endpoints", "", object{namespace: pod.namespace}, "limit=500&resourceVersion=0")
	default:
		e.Verb, e.RequestURI = "get", "/readyz"
	}
}

func person(t *traffic, c *client, e *audit.Event) {
	pod := c.objects[t.rand.IntN(len(c.objects))]
	switch t.rand.IntN(4) {
	case 0:
		t.on(e, "list", "/api/v1", "", "pods", "", object{namespace: pod.namespace}, "limit=500")
	case 1:
		t.on(e, "get", "/api/v1", "", "pods", "log", pod, "container=app&follow=true")
	case 2:
		t.on(e, "get", "/apis/apps/v1", "apps", "deployments", "", object{pod.namespace, pod.name[:5], ""}, "")
	default:
		t.on(e, "get", "/api/v1", "", "secrets", "", object{pod.namespace, "db", ""}, "")
		e.Status = audit.Status{
			Code: 403, Status: "Failure", Reason: "Forbidden",
			Message: fmt.Sprintf(`secrets "db" is forbidden: User %q cannot get resource "secrets" in API group "" in the namespace %q`, c.name, pod.namespace),
		}
		e.Annotations = map[string]string{keyDecision: "forbid", keyDecisionReason: ""}
	}
}

func (t *traffic) recent() string { return fmt.Sprint(t.version - t.rand.IntN(400)) }

func (t *traffic) on(e *audit.Event, verb, prefix, group, resource, sub string, o object, query string) {
	uri := prefix
	if o.namespace != "" {
		uri += "/namespaces/" + o.namespace
	}
	uri += "/" + resource
	if o.name != "" && verb != "create" || sub != "" {
		uri += "/" + o.name
	}
	if sub != "" {
		uri += "/" + sub
	}
	if query != "" {
		uri += "?" + query
	}
	e.Verb, e.RequestURI = verb, uri
	e.Object = audit.ObjectRef{APIGroup: group, APIVersion: "v1", Resource: resource, Subresource: sub, Namespace: o.namespace, Name: o.name}
	e.Status.Code = 200
}

func (t *traffic) watch(e *audit.Event, prefix, group, resource, namespace, query string) {
	t.on(e, "watch", prefix, group, resource, "", object{namespace: namespace},
		fmt.Sprintf("%s&resourceVersion=%s&timeout=%ds&timeoutSeconds=%d&watch=true", query, t.recent(), 300+t.rand.IntN(300), 300+t.rand.IntN(300)))
	if t.rand.IntN(2) == 0 {
		e.Stage = "ResponseStarted"
		return
	}
	e.RequestReceived = e.StageAt.Add(-time.Duration(300e6+t.rand.IntN(300e6)) * time.Microsecond)
}

// event makes the next one.
func (t *traffic) event() *audit.Event {
	t.now = t.now.Add(time.Duration(t.rand.ExpFloat64()*2500) * time.Microsecond)
	t.version += t.rand.IntN(2)
	if t.rand.IntN(40) == 0 || t.received.IsZero() { // events come in batches
		t.received = t.now.Add(time.Duration(200000+t.rand.IntN(900000)) * time.Microsecond)
	}
	total := 0
	for i := range t.clients {
		total += t.clients[i].weight
	}
	pick := t.rand.IntN(total)
	var c *client
	for i := range t.clients {
		if c = &t.clients[i]; pick < c.weight {
			break
		}
		pick -= c.weight
	}
	done := t.now.Add(-time.Duration(t.rand.IntN(30000)) * time.Microsecond)
	e := &audit.Event{
		Kind: audit.KindAPI, Source: "webhook", Cluster: "production", Received: t.received, AuditID: t.uuid(),
		Level: "Metadata", Stage: "ResponseComplete", User: audit.User{Username: c.name, Groups: c.groups, Extra: c.extra},
		SourceIPs: []string{c.ip}, UserAgent: c.agent, StageAt: done,
		RequestReceived: done.Add(-time.Duration(1000+t.rand.ExpFloat64()*6000) * time.Microsecond),
		Annotations:     map[string]string{keyDecision: "allow", keyDecisionReason: c.reason},
	}
	c.act(t, c, e)
	return e
}

func (t *traffic) rows(n int) []Row {
	h := newHasher()
	rows := make([]Row, n)
	for i := range rows {
		e := t.event()
		rows[i] = Row{Event: e, Leaf: h.leaf(e)}
	}
	return rows
}
