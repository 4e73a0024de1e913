package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
)

// fakeCluster keeps objects in memory, with uids and versions as the API server gives
// them. fail, where it is set, may refuse a call.
type fakeCluster struct {
	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured
	version int
	writes  []string
	fail    func(verb, key string, dryRun bool) error
	// written is called after each write.
	written func()
}

func keyOf(resource, namespace, name string) string { return resource + " " + namespace + "/" + name }

var resources = map[string]string{
	"Pod": "pods", "Service": "services", "Namespace": "namespaces", "Secret": "secrets", "Node": "nodes", "ServiceAccount": "serviceaccounts",
	"NetworkPolicy": "networkpolicies", "RoleBinding": "rolebindings", "ClusterRoleBinding": "clusterrolebindings", "SecurityPolicy": "securitypolicies",
}

func newCluster(t *testing.T, documents ...string) *fakeCluster {
	t.Helper()
	c := &fakeCluster{objects: map[string]*unstructured.Unstructured{}}
	for _, d := range documents {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(d), &u.Object); err != nil {
			t.Fatal(err)
		}
		c.put(resources[u.GetKind()], u)
	}
	return c
}

func (c *fakeCluster) put(resource string, u *unstructured.Unstructured) {
	c.version++
	if u.GetUID() == "" {
		meta := u.Object["metadata"].(map[string]any) //nolint:forcetypeassert // a test's own
		meta["uid"] = fmt.Sprintf("uid-%d", c.version)
	}
	u.SetResourceVersion(fmt.Sprint(c.version))
	c.objects[keyOf(resource, u.GetNamespace(), u.GetName())] = u
}

func (c *fakeCluster) refuse(verb, key string, dryRun bool) error {
	if c.fail != nil {
		return c.fail(verb, key, dryRun)
	}
	return nil
}

func of(resource string) schema.GroupResource { return schema.GroupResource{Resource: resource} }

func (c *fakeCluster) Get(_ context.Context, _, resource, namespace, name string) (*unstructured.Unstructured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(resource, namespace, name)
	if err := c.refuse("get", key, false); err != nil {
		return nil, err
	}
	u := c.objects[key]
	if u == nil {
		return nil, apierrors.NewNotFound(of(resource), name)
	}
	return u.DeepCopy(), nil
}

func (c *fakeCluster) List(_ context.Context, _, resource, namespace string) ([]unstructured.Unstructured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuse("list", resource, false); err != nil {
		return nil, err
	}
	var out []unstructured.Unstructured
	for key, u := range c.objects {
		if strings.HasPrefix(key, resource+" ") && (namespace == "" || u.GetNamespace() == namespace) {
			out = append(out, *u.DeepCopy())
		}
	}
	slices.SortFunc(out, func(a, b unstructured.Unstructured) int {
		return strings.Compare(a.GetNamespace()+a.GetName(), b.GetNamespace()+b.GetName())
	})
	return out, nil
}

func (c *fakeCluster) wrote(verb, key string, dryRun bool) {
	if dryRun {
		return
	}
	if c.writes = append(c.writes, verb+" "+key); c.written != nil {
		c.written()
	}
}

func (c *fakeCluster) Create(_ context.Context, resource string, object *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(resource, object.GetNamespace(), object.GetName())
	if err := c.refuse("create", key, dryRun); err != nil {
		return nil, err
	}
	if c.objects[key] != nil {
		return nil, apierrors.NewAlreadyExists(of(resource), object.GetName())
	}
	u := object.DeepCopy()
	if !dryRun {
		c.put(resource, u)
	}
	c.wrote("create", key, dryRun)
	return u.DeepCopy(), nil
}

func (c *fakeCluster) Patch(_ context.Context, _, resource, namespace, name string, patch []byte, dryRun bool) (*unstructured.Unstructured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(resource, namespace, name)
	if err := c.refuse("patch", key, dryRun); err != nil {
		return nil, err
	}
	u := c.objects[key]
	if u == nil {
		return nil, apierrors.NewNotFound(of(resource), name)
	}
	var p map[string]any
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	meta, _ := p["metadata"].(map[string]any)
	if meta["uid"] != string(u.GetUID()) || meta["resourceVersion"] != u.GetResourceVersion() {
		return nil, apierrors.NewConflict(of(resource), name, errors.New("it is of another version"))
	}
	u = u.DeepCopy()
	merge(u.Object, p)
	if !dryRun {
		c.put(resource, u)
	}
	c.wrote("patch", key, dryRun)
	return u.DeepCopy(), nil
}

// merge is RFC 7386 on objects.
func merge(to, patch map[string]any) {
	for k, v := range patch {
		m, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(to, k)
		case ok:
			next, is := to[k].(map[string]any)
			if !is {
				next = map[string]any{}
				to[k] = next
			}
			merge(next, m)
		default:
			to[k] = v
		}
	}
}

func (c *fakeCluster) Delete(_ context.Context, _, resource, namespace, name, uid string, dryRun bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(resource, namespace, name)
	if err := c.refuse("delete", key, dryRun); err != nil {
		return err
	}
	u := c.objects[key]
	if u == nil {
		return apierrors.NewNotFound(of(resource), name)
	}
	if uid != "" && uid != string(u.GetUID()) {
		return apierrors.NewConflict(of(resource), name, errors.New("it has another uid"))
	}
	if !dryRun {
		delete(c.objects, key)
	}
	c.wrote("delete", key, dryRun)
	return nil
}

func (c *fakeCluster) Self(context.Context) (string, error) {
	return "system:serviceaccount:bulwark-system:bulwark-audit", nil
}

// state gives all objects without what every write changes.
func (c *fakeCluster) state() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]any{}
	for key, u := range c.objects {
		o := runtime.DeepCopyJSON(u.Object)
		meta := o["metadata"].(map[string]any) //nolint:forcetypeassert // a test's own
		delete(meta, "resourceVersion")
		delete(meta, "uid")
		out[key] = o
	}
	return out
}

// fakeTrail keeps events in memory. full makes it refuse.
type fakeTrail struct {
	mu     sync.Mutex
	events []*audit.Event
	full   bool
}

func (t *fakeTrail) Append(_ context.Context, entries []audit.Entry) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full {
		return 0, errors.New("the disk is full")
	}
	first := uint64(len(t.events)) + 1
	for _, e := range entries {
		e.Event.Seq = uint64(len(t.events)) + 1
		t.events = append(t.events, e.Event)
	}
	return first, nil
}

func (t *fakeTrail) Events(_ context.Context, seqs []uint64) ([]*audit.Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*audit.Event
	for _, s := range seqs {
		if s == 0 || s > uint64(len(t.events)) {
			return nil, fmt.Errorf("event %d is not there", s)
		}
		out = append(out, t.events[s-1])
	}
	return out, nil
}

// told lists the verbs of the action events, with how they ended.
func (t *fakeTrail) told() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, e := range t.events {
		if e.Kind == audit.KindAction {
			out = append(out, strings.TrimSuffix(e.Verb+":"+e.Status.Reason, ":"))
		}
	}
	return strings.Join(out, ">")
}

// lab is an engine over fakes, with a clock of its own.
type lab struct {
	t       *testing.T
	cluster *fakeCluster
	trail   *fakeTrail
	policy  *Policy
	actions map[string]*Action
	dir     string
	clock   time.Time
	random  byte
	engine  *Engine
}

func newLab(t *testing.T, policy string, documents ...string) *lab {
	t.Helper()
	l := &lab{t: t, cluster: newCluster(t, documents...), trail: &fakeTrail{}, dir: t.TempDir(), clock: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
	l.actions = actions(t)
	var err error
	if l.policy, err = ParsePolicy([]byte(policy), l.actions); err != nil {
		t.Fatal(err)
	}
	l.start()
	return l
}

func actions(t *testing.T) map[string]*Action {
	t.Helper()
	a, err := Load(catalog.Responses())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start is what a new process does.
func (l *lab) start() {
	l.t.Helper()
	var err error
	l.engine, err = New(Config{
		Dir: l.dir, Actions: l.actions, Policy: l.policy, Cluster: l.cluster, Trail: l.trail, Namespace: "bulwark-system",
		Now: func() time.Time { return l.clock }, Random: l, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// Read gives bytes that differ from each other.
func (l *lab) Read(p []byte) (int, error) {
	l.random++
	copy(p, bytes.Repeat([]byte{l.random}, len(p)))
	return len(p), nil
}

// event puts evidence into the trail and gives its number.
func (l *lab) event(e *audit.Event) uint64 {
	l.t.Helper()
	seq, err := l.trail.Append(l.t.Context(), []audit.Entry{{Event: e}})
	if err != nil {
		l.t.Fatal(err)
	}
	return seq
}

// exec is evidence of a command in a pod.
func exec(user, namespace, pod string, code int32) *audit.Event {
	return &audit.Event{
		Kind: audit.KindAPI, Verb: "create", User: audit.User{Username: user, Groups: []string{"system:authenticated"}},
		Object: audit.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: namespace, Name: pod}, Status: audit.Status{Code: code},
	}
}

const (
	podWeb = `{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web, tier: front}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: u, controller: true}]}, spec: {serviceAccountName: cart}}`
	svcWeb = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}}}`
	nsShop = `{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`
	npOpen = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: front, namespace: shop}, spec: {podSelector: {matchLabels: {tier: front}}, ingress: [{}], policyTypes: [Ingress]}}`
	npAll  = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: everyone, namespace: shop}, spec: {podSelector: {}, egress: [{}], policyTypes: [Egress]}}`
	saCart = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: cart, namespace: shop, labels: {team: a}}, automountServiceAccountToken: false}`
	token  = `{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: cart-token, namespace: shop, annotations: {kubernetes.io/service-account.name: cart, kubectl.kubernetes.io/last-applied-configuration: hunter2, kubernetes.io/service-account.uid: u}}, data: {token: aHVudGVyMg==}}`
	opaque = `{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: db, namespace: shop}, data: {password: aHVudGVyMg==}}`
	rbEve  = `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: eve, namespace: shop}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]}`
	node1  = `{apiVersion: v1, kind: Node, metadata: {name: worker-1}, spec: {}}`
	node2  = `{apiVersion: v1, kind: Node, metadata: {name: worker-2}, spec: {}}`
	policy = `{apiVersion: bulwark.dev/v1alpha1, kind: SecurityPolicy, metadata: {name: api, namespace: shop}, spec: {authorization: {rules: [{name: all, allow: true, when: "true"}]}}}`
	inner  = `{apiVersion: bulwark.dev/v1alpha1, kind: SecurityPolicy, metadata: {name: net, namespace: shop}, spec: {network: {deny: [192.0.2.0/24]}}}`
)
