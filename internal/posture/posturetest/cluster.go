// Package posturetest makes up clusters of any size, for tests of correctness and
// of speed.
package posturetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// object is JSON.
type object = map[string]any

// Cluster makes about n objects in the proportions of a cluster that runs a few
// hundred teams' services: each service has its own specification with the
// mistakes of its team, its pods and old replica sets, configuration, secrets,
// roles and routes. The same seed gives the same objects. Every tenth pod was
// changed on its way in, by a sidecar.
func Cluster(n int, seed uint64) []*inventory.Object {
	g := &generator{random: rand.New(rand.NewPCG(seed, 7)), most: n} //nolint:gosec // G404: made-up data
	for i := 0; len(g.out) < n; i++ {
		if i%25 == 0 {
			g.namespace(i / 25)
		}
		g.service(i)
	}
	return g.out
}

type generator struct {
	random *rand.Rand
	out    []*inventory.Object
	most   int
	ns     string
	uids   int
}

// one in n.
func (g *generator) one(n int) bool { return g.random.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.random.IntN(len(from))] }

// add makes an object and gives its UID; owner is the kind, name and UID of what
// made it.
func (g *generator) add(apiVersion, kind, name string, owner []string, fields object) string {
	if len(g.out) >= g.most {
		return ""
	}
	g.uids++
	uid := fmt.Sprintf("%08x-aaaa-bbbb-cccc-%012x", g.uids, g.uids)
	metadata := object{
		"name": name, "namespace": g.ns, "uid": uid, "resourceVersion": fmt.Sprint(100_000 + g.uids), "creationTimestamp": "2026-01-05T10:00:00Z",
		"labels": object{"app.kubernetes.io/name": name, "team": fmt.Sprint("team-", g.random.IntN(40))},
	}
	switch kind {
	case "Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume":
		delete(metadata, "namespace")
	}
	if labels, ok := fields["labels"]; ok {
		metadata["labels"] = labels
		delete(fields, "labels")
	}
	if len(owner) > 0 {
		version := map[string]string{"Deployment": "apps/v1", "ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "CronJob": "batch/v1", "Job": "batch/v1"}[owner[0]]
		metadata["ownerReferences"] = []any{object{"apiVersion": version, "kind": owner[0], "name": owner[1], "uid": owner[2], "controller": true, "blockOwnerDeletion": true}}
	}
	fields["apiVersion"], fields["kind"], fields["metadata"] = apiVersion, kind, metadata
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // strings and numbers
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		panic(err)
	}
	g.out = append(g.out, o)
	return uid
}

func (g *generator) namespace(i int) {
	g.ns = fmt.Sprintf("team-%d", i)
	labels := object{"kubernetes.io/metadata.name": g.ns}
	if g.one(2) {
		labels["pod-security.kubernetes.io/enforce"] = pick(g, "baseline", "restricted", "privileged")
	}
	g.add("v1", "Namespace", g.ns, nil, object{"labels": labels, "spec": object{}})
	g.add("v1", "ServiceAccount", "default", nil, object{})
	if g.one(2) {
		g.add("networking.k8s.io/v1", "NetworkPolicy", "default-deny", nil, object{"spec": object{"podSelector": object{}, "policyTypes": []any{"Ingress", "Egress"}}})
	}
	if g.one(3) {
		g.add("v1", "ResourceQuota", "quota", nil, object{"spec": object{"hard": object{"pods": "200"}}})
	}
}

// service makes one service of a team with everything around it.
func (g *generator) service(i int) {
	name := fmt.Sprintf("%s-%d", pick(g, "cart", "catalog", "checkout", "search", "stock", "mail", "price", "login"), i)
	labels := object{"app": name, "version": fmt.Sprint("v", g.random.IntN(30))}
	template := object{"metadata": object{"labels": labels}, "spec": g.pod(name)}
	selector := object{"matchLabels": object{"app": name}}
	replicas := 2 + g.random.IntN(14)
	switch g.random.IntN(10) {
	case 0:
		uid := g.add("apps/v1", "StatefulSet", name, nil, object{"spec": object{"replicas": replicas, "serviceName": name, "selector": selector, "template": template}})
		g.pods(replicas, []string{"StatefulSet", name, uid}, labels, template)
		g.add("v1", "PersistentVolumeClaim", "data-"+name, nil, object{"spec": object{"accessModes": []any{"ReadWriteOnce"}, "resources": object{"requests": object{"storage": "10Gi"}}}})
	case 1:
		uid := g.add("apps/v1", "DaemonSet", name, nil, object{"spec": object{"selector": selector, "template": template}})
		g.pods(replicas, []string{"DaemonSet", name, uid}, labels, template)
	case 2:
		uid := g.add("batch/v1", "CronJob", name, nil, object{"spec": object{"schedule": "0 * * * *", "jobTemplate": object{"spec": object{"template": template}}}})
		for n := range 3 {
			run := fmt.Sprintf("%s-%d", name, 2900+n)
			job := g.add("batch/v1", "Job", run, []string{"CronJob", name, uid}, object{"spec": object{"template": template}})
			g.pods(1, []string{"Job", run, job}, labels, template)
		}
	default:
		uid := g.add("apps/v1", "Deployment", name, nil, object{"spec": object{"replicas": replicas, "selector": selector, "template": template}})
		for n := range 1 + g.random.IntN(5) {
			set, size := fmt.Sprintf("%s-%x", name, 0x5d000000+i*16+n), 0
			if n == 0 {
				size = replicas
			}
			rs := g.add("apps/v1", "ReplicaSet", set, []string{"Deployment", name, uid}, object{"spec": object{"replicas": size, "selector": selector, "template": template}})
			g.pods(size, []string{"ReplicaSet", set, rs}, labels, template)
		}
	}
	g.around(i, name, labels)
}

// around makes what a service has beside its pods.
func (g *generator) around(i int, name string, labels object) {
	g.add("v1", "ServiceAccount", name, nil, object{})
	for n := range 1 + g.random.IntN(4) {
		g.add("v1", "ConfigMap", fmt.Sprintf("%s-%d", name, n), nil, object{"data": object{
			"application.properties": fmt.Sprintf("db.url=jdbc:postgresql://db-%d:5432/%s\npool.size=%d\nlog.level=info\n", i, name, n), "level": "info",
		}})
	}
	for n := range 1 + g.random.IntN(3) {
		g.add("v1", "Secret", fmt.Sprintf("%s-%d", name, n), nil, object{"type": "Opaque", "data": object{"password": "", "username": ""}})
	}
	kind := "ClusterIP"
	if g.one(8) {
		kind = pick(g, "NodePort", "LoadBalancer")
	}
	g.add("v1", "Service", name, nil, object{"spec": object{"type": kind, "selector": object{"app": name}, "ports": []any{object{"name": "http", "port": 80, "targetPort": 8080}}}})
	g.add("discovery.k8s.io/v1", "EndpointSlice", name, nil, object{"addressType": "IPv4", "endpoints": []any{object{"addresses": []any{"10.0.0.1"}}}, "ports": []any{object{"port": 8080}}})
	if g.one(2) {
		g.add("rbac.authorization.k8s.io/v1", "Role", name, nil, object{"rules": []any{
			object{"apiGroups": []any{""}, "resources": []any{pick(g, "configmaps", "secrets", "pods", "*")}, "verbs": []any{"get", "list", pick(g, "watch", "*")}},
		}})
		g.add("rbac.authorization.k8s.io/v1", "RoleBinding", name, nil, object{
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
			"subjects": []any{object{"kind": "ServiceAccount", "name": name, "namespace": g.ns}},
		})
	}
	if g.one(3) {
		spec := object{"rules": []any{object{"host": name + ".shop.example", "http": object{"paths": []any{object{"path": "/", "pathType": "Prefix", "backend": object{"service": object{"name": name, "port": object{"number": 80}}}}}}}}}
		if g.one(2) {
			spec["tls"] = []any{object{"hosts": []any{name + ".shop.example"}, "secretName": name + "-0"}}
		}
		g.add("networking.k8s.io/v1", "Ingress", name, nil, object{"spec": spec})
	}
	if g.one(3) {
		g.add("networking.k8s.io/v1", "NetworkPolicy", name, nil, object{"spec": object{
			"podSelector": object{"matchLabels": object{"app": name}}, "policyTypes": []any{"Ingress"},
			"ingress": []any{object{"from": []any{object{"podSelector": object{"matchLabels": labels}}}, "ports": []any{object{"port": 8080, "protocol": "TCP"}}}},
		}})
	}
	if g.one(2) {
		g.add("policy/v1", "PodDisruptionBudget", name, nil, object{"spec": object{"minAvailable": 1, "selector": object{"matchLabels": object{"app": name}}}})
	}
	if g.one(2) {
		g.add("monitoring.coreos.com/v1", "ServiceMonitor", name, nil, object{"spec": object{"selector": object{"matchLabels": object{"app": name}}, "endpoints": []any{object{"port": "http"}}}})
	}
	if g.one(4) {
		g.add("cert-manager.io/v1", "Certificate", name, nil, object{"spec": object{"secretName": name + "-tls", "dnsNames": []any{name + ".shop.example"}, "issuerRef": object{"name": "ca"}}})
	}
}

// pods makes the pods of an owner, as a cluster runs them.
func (g *generator) pods(n int, owner []string, labels, template object) {
	spec, _ := template["spec"].(object)
	for i := range n {
		name := fmt.Sprintf("%s-%05x", owner[1], g.random.IntN(1<<20))
		token := fmt.Sprintf("kube-api-access-%05x", g.random.IntN(1<<20))
		own := maps.Clone(spec)
		own["nodeName"] = fmt.Sprintf("node-%d", g.random.IntN(300))
		volumes, _ := spec["volumes"].([]any)
		own["volumes"] = append(append([]any{}, volumes...), object{"name": token, "projected": object{"sources": []any{object{"serviceAccountToken": object{"path": "token", "expirationSeconds": 3607}}}}})
		var containers []any
		list, _ := spec["containers"].([]any)
		for _, c := range list {
			from, _ := c.(object)
			k := maps.Clone(from)
			mounts, _ := k["volumeMounts"].([]any)
			k["volumeMounts"] = append(append([]any{}, mounts...), object{"name": token, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true})
			containers = append(containers, k)
		}
		if i == 0 && g.one(10) {
			containers = append(containers, object{"name": "mesh-proxy", "image": "registry.shop.example/mesh/proxy:1.9.0", "securityContext": object{"runAsUser": 0}})
		}
		own["containers"] = containers
		g.add("v1", "Pod", name, owner, object{"labels": labels, "spec": own, "status": object{"phase": "Running", "hostIP": "10.1.0.7", "podIP": "10.2.3.4", "conditions": []any{object{"type": "Ready", "status": "True"}}}})
	}
}

// pod makes a specification, well kept or not.
func (g *generator) pod(name string) object {
	careful := g.one(2)
	spec := object{
		"serviceAccountName": name, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
		"volumes": []any{object{"name": "config", "configMap": object{"name": name + "-0"}}, object{"name": "tmp", "emptyDir": object{}}},
	}
	if careful {
		spec["automountServiceAccountToken"] = false
		spec["securityContext"] = object{"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": object{"type": "RuntimeDefault"}}
	}
	if g.one(40) {
		spec["hostNetwork"] = true
	}
	if g.one(40) {
		spec["volumes"] = append(spec["volumes"].([]any), object{"name": "host", "hostPath": object{"path": pick(g, "/var/log", "/", "/var/run/docker.sock")}}) //nolint:forcetypeassert // made above
	}
	containers := []any{g.container(name, careful)}
	for g.one(3) {
		containers = append(containers, g.container(fmt.Sprintf("side-%d", len(containers)), careful))
	}
	spec["containers"] = containers
	if g.one(5) {
		spec["initContainers"] = []any{g.container("init", careful)}
	}
	return spec
}

func (g *generator) container(name string, careful bool) object {
	c := object{
		"name": name, "image": fmt.Sprintf("registry.shop.example/%s:%s", name, pick(g, "latest", "v1.2.3", "2.0", "v3.1.4")),
		"args":         []any{"--listen=:8080", "--config=/etc/" + name + "/config.yaml"},
		"ports":        []any{object{"name": "http", "containerPort": 8080, "protocol": "TCP"}},
		"env":          []any{object{"name": "LOG_LEVEL", "value": "info"}, object{"name": "DB_PASSWORD", "valueFrom": object{"secretKeyRef": object{"name": name + "-0", "key": "password"}}}, object{"name": "REGION", "value": pick(g, "eu", "us")}},
		"volumeMounts": []any{object{"name": "config", "mountPath": "/etc/" + name}, object{"name": "tmp", "mountPath": "/tmp"}},
	}
	if careful {
		c["securityContext"] = object{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}}}
		c["resources"] = object{"requests": object{"cpu": "100m", "memory": "256Mi"}, "limits": object{"memory": "256Mi"}}
		c["livenessProbe"] = object{"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 10}
		c["readinessProbe"] = object{"httpGet": object{"path": "/readyz", "port": 8080}}
	} else if g.one(10) {
		c["securityContext"] = object{"privileged": true}
	}
	return c
}
