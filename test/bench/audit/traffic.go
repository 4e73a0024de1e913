package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// traffic makes the audit events of a busy cluster: leases and status of nodes, what
// controllers read and write, and now and then a person. Levels and proportions are
// those of a common policy: everything at Metadata.
type traffic struct {
	random *rand.Rand
	now    time.Time
	body   bytes.Buffer
}

// stamp is how audit events write times.
const stamp = "2006-01-02T15:04:05.000000Z"

func newTraffic(seed uint64, now time.Time) *traffic {
	return &traffic{random: rand.New(rand.NewPCG(seed, 1)), now: now} // #nosec G404 -- a repeatable load
}

// request is a kind of request, and how often it comes among a thousand.
type request struct {
	share                                                         int
	verb, group, version, resource, sub, namespace, name, account string
	code                                                          int
	query                                                         string
}

func requests() []request {
	return []request{
		{320, "update", "coordination.k8s.io", "v1", "leases", "", "kube-node-lease", "node-%d", "system:node:node-%d", 200, "?timeout=10s"},
		{110, "patch", "", "v1", "nodes", "status", "", "node-%d", "system:node:node-%d", 200, "?timeout=10s"},
		{90, "get", "", "v1", "pods", "", "team-%d", "web-%d-7d4b9c6f5-x2x9k", "system:node:node-%d", 200, ""},
		{80, "watch", "", "v1", "configmaps", "", "team-%d", "settings-%d", "system:node:node-%d", 200, "?allowWatchBookmarks=true&fieldSelector=metadata.name%%3Dsettings&resourceVersion=%d&timeout=7m5s&timeoutSeconds=425&watch=true"},
		{70, "update", "coordination.k8s.io", "v1", "leases", "", "kube-system", "controller-%d", "system:serviceaccount:team-%d:controller", 200, ""},
		{60, "patch", "", "v1", "pods", "status", "team-%d", "web-%d-7d4b9c6f5-x2x9k", "system:node:node-%d", 200, ""},
		{50, "create", "", "v1", "events", "", "team-%d", "", "system:serviceaccount:kube-system:deployment-controller", 201, ""},
		{50, "create", "authorization.k8s.io", "v1", "subjectaccessreviews", "", "", "", "system:node:node-%d", 201, ""},
		{40, "list", "apps", "v1", "deployments", "", "team-%d", "", "system:serviceaccount:team-%d:operator", 200, "?limit=500&resourceVersion=%d"},
		{40, "update", "discovery.k8s.io", "v1", "endpointslices", "", "team-%d", "web-%d-abcde", "system:serviceaccount:kube-system:endpointslice-controller", 200, ""},
		{30, "get", "", "v1", "secrets", "", "team-%d", "tls-%d", "system:node:node-%d", 200, ""},
		{20, "create", "", "v1", "serviceaccounts", "token", "team-%d", "app-%d", "system:node:node-%d", 201, ""},
		{20, "get", "", "v1", "services", "", "team-%d", "web-%d", "system:serviceaccount:team-%d:operator", 404, ""},
		{15, "list", "", "v1", "pods", "", "team-%d", "", "person-%d@shop.example", 200, "?limit=500"},
		{4, "get", "apps", "v1", "deployments", "", "team-%d", "web-%d", "person-%d@shop.example", 403, ""},
		{1, "patch", "apps", "v1", "deployments", "", "team-%d", "web-%d", "person-%d@shop.example", 200, "?fieldManager=kubectl-client-side-apply"},
	}
}

// batch gives an EventList of n events, as an API server sends it.
func (t *traffic) batch(n int) []byte {
	t.body.Reset()
	t.body.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	kinds := requests()
	for i := range n {
		if i > 0 {
			t.body.WriteByte(',')
		}
		pick := t.random.IntN(1000)
		for k := range kinds {
			if pick -= kinds[k].share; pick < 0 {
				t.event(&kinds[k])
				break
			}
		}
	}
	t.body.WriteString("]}")
	return bytes.Clone(t.body.Bytes())
}

// fill puts numbers in the place of each %d.
func (t *traffic) fill(format string, most int) string {
	if bytes.Contains([]byte(format), []byte("%d")) {
		return fmt.Sprintf(format, t.random.IntN(most))
	}
	return format
}

func (t *traffic) event(k *request) {
	t.now = t.now.Add(time.Duration(t.random.IntN(40)) * time.Microsecond)
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], t.random.Uint64())
	binary.LittleEndian.PutUint64(id[8:], t.random.Uint64())
	text := hex.EncodeToString(id[:])
	id6 := text[:8] + "-" + text[8:12] + "-4" + text[13:16] + "-a" + text[17:20] + "-" + text[20:]
	space, name, user := t.fill(k.namespace, 200), t.fill(k.name, 3000), t.fill(k.account, 1000)
	if strings.HasPrefix(k.name, "node-") {
		name = user[strings.LastIndexByte(user, ':')+1:] // a node writes to itself only
	}
	path := "/api/" + k.version
	if k.group != "" {
		path = "/apis/" + k.group + "/" + k.version
	}
	if space != "" {
		path += "/namespaces/" + space
	}
	path += "/" + k.resource
	if name != "" && k.verb != "watch" {
		path += "/" + name
	}
	if k.sub != "" {
		path += "/" + k.sub
	}
	if k.query != "" {
		path += t.fill(k.query, 1<<30)
	}
	agent, groups := "kubelet/v1.36.3 (linux/amd64) kubernetes/1a2b3c4", `"system:nodes","system:authenticated"`
	switch user[0] {
	case 'p':
		agent, groups = "kubectl/v1.36.3 (linux/amd64) kubernetes/1a2b3c4", `"developers","system:authenticated"`
	case 's':
		if len(user) > 20 && user[7] == 's' {
			agent, groups = "operator/v0.0.0 (linux/amd64) kubernetes/$Format", `"system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"`
		}
	}
	end := t.now.Add(time.Duration(500+t.random.IntN(20000)) * time.Microsecond)
	fmt.Fprintf(&t.body, `{"level":"Metadata","auditID":%q,"stage":"ResponseComplete","requestURI":%q,"verb":%q,"user":{"username":%q,"groups":[%s],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=%s"]}},"sourceIPs":["10.%d.%d.%d"],"userAgent":%q,"objectRef":{"resource":%q`,
		id6, path, k.verb, user, groups, credential(user), len(user)%4, t.random.IntN(4), len(name), agent, k.resource)
	for _, f := range [][2]string{{"namespace", space}, {"name", name}, {"apiGroup", k.group}, {"apiVersion", k.version}, {"subresource", k.sub}} {
		if f[1] != "" {
			fmt.Fprintf(&t.body, `,%q:%q`, f[0], f[1])
		}
	}
	decision := "allow"
	if k.code == 403 {
		decision = "forbid"
	}
	if k.verb == "update" {
		t.body.WriteString(`,"uid":"` + credential(name)[:32] + `","resourceVersion":"` + strconv.Itoa(t.random.IntN(1<<30)) + `"`)
	}
	fmt.Fprintf(&t.body, `},"responseStatus":{"metadata":{},"code":%d},"requestReceivedTimestamp":%q,"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":%q,"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"%s\" of ClusterRole \"%s\" to Group \"system:nodes\""}}`,
		k.code, t.now.Format(stamp), end.Format(stamp), decision, "system:"+k.resource, "system:"+k.resource)
}

// credential is 64 hexadecimal digits that stay the same for a user.
func credential(user string) string {
	h := uint64(14695981039346656037)
	out := make([]byte, 0, 64)
	for len(out) < 64 {
		for _, c := range []byte(user) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		h ^= h >> 29
		out = fmt.Appendf(out, "%016x", h)
	}
	return string(out[:64])
}
