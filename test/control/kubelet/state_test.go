package kubelet

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// node gives a kubelet over a fake API with these objects and a clock to turn.
func node(t *testing.T, objects ...runtime.Object) (*kubelet, *fake.Clientset, *time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	client := fake.NewClientset(objects...)
	k := &kubelet{Config: Config{
		Client: client, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		NodeIP: "10.243.0.1", DNS: "10.96.0.10", APIService: "10.96.0.1", Dir: t.TempDir(),
	}}
	k.objects = newObjects(client, func() {})
	t.Cleanup(k.objects.stop)
	return k, client, &now
}

func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	k, client, now := node(t)
	var asked int
	var away atomic.Bool
	client.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		if away.Load() {
			return true, nil, errors.New("away")
		}
		asked++
		req := a.(ktesting.CreateAction).GetObject().(*authenticationv1.TokenRequest)
		if b := req.Spec.BoundObjectRef; b == nil || b.Name != "p" || b.UID != "u" {
			t.Errorf("the token is bound to %+v", b)
		}
		life := time.Duration(*req.Spec.ExpirationSeconds) * time.Second
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token:               strings.Join(req.Spec.Audiences, ",") + "#" + string(rune('0'+asked)),
			ExpirationTimestamp: metav1.NewTime(now.Add(life)),
		}}, nil
	})
	r := newPod(k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u"}})
	seconds := int64(1000)
	get := func(audience string) (string, error) {
		return r.volumes.tokens.get(t.Context(), r, &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &seconds})
	}
	steps := []struct {
		at   time.Duration
		away bool
		want string
	}{
		{0, false, "x#1"},
		{799 * time.Second, false, "x#1"},
		{801 * time.Second, true, "x#1"}, // due, but the old one still works
		{803 * time.Second, false, "x#2"},
		{1900 * time.Second, true, ""}, // and now it does not
	}
	begun := *now
	for _, s := range steps {
		*now = begun.Add(s.at)
		away.Store(s.away)
		if got, err := get("x"); got != s.want || (err == nil) != (s.want != "") {
			t.Errorf("after %v: %q, %v, want %q", s.at, got, err, s.want)
		}
	}
	away.Store(false)
	if got, err := get("y"); err != nil || got != "y#3" {
		t.Errorf("another audience: %q, %v", got, err)
	}
	if due, ok := r.volumes.tokens.due(); !ok || due.After(*now) {
		t.Errorf("the next is due at %v, %t", due, ok)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	k, _, _ := node(t,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Data: map[string][]byte{"k": []byte("v")}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}, Data: map[string]string{"K": "V"}})
	yes := true
	secret := func(name, key string, optional *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}
	}
	environment := func(c corev1.Container) ([]string, error) {
		r := newPod(k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}})
		defer r.volumes.close()
		return r.containers[0].environment(t.Context())
	}
	env, err := environment(corev1.Container{
		EnvFrom: []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}}},
		Env: []corev1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)$(P_K)"}, {Name: "S", ValueFrom: secret("s", "k", nil)}, {Name: "O", ValueFrom: secret("absent", "k", &yes)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "1", "B": "1V", "P_K": "V", "S": "v", "HOSTNAME": "p", "KUBERNETES_SERVICE_HOST": "10.96.0.1"} {
		if got := value(env, name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
	for _, e := range env {
		if strings.HasPrefix(e, "O=") {
			t.Errorf("an optional variable without a value is there: %s", e)
		}
	}
	for name, from := range map[string]*corev1.EnvVarSource{"absent secret": secret("absent", "k", nil), "absent key": secret("s", "none", nil), "no source": {}} {
		if env, err := environment(corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: from}}}); err == nil {
			t.Errorf("%s: $X is %q", name, value(env, "X"))
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	running := func(c *container) { c.task = &task{}; c.waiting = nil }
	ended := func(code int32) func(*container) {
		return func(c *container) {
			c.over, c.waiting, c.last = true, nil, &corev1.ContainerStateTerminated{ExitCode: code}
		}
	}
	tests := map[string]struct {
		init, main []func(*container)
		initDone   bool
		phase      corev1.PodPhase
		ready      bool
	}{
		"new":                  {main: []func(*container){nil}, phase: corev1.PodPending},
		"init runs":            {init: []func(*container){running}, main: []func(*container){nil}, phase: corev1.PodPending},
		"init failed":          {init: []func(*container){ended(1)}, main: []func(*container){nil}, phase: corev1.PodFailed},
		"runs, not ready":      {initDone: true, main: []func(*container){running, nil}, phase: corev1.PodRunning},
		"ready":                {initDone: true, main: []func(*container){func(c *container) { running(c); c.ready = true }}, phase: corev1.PodRunning, ready: true},
		"one ended, one runs":  {initDone: true, main: []func(*container){ended(1), running}, phase: corev1.PodRunning},
		"all ended well":       {initDone: true, main: []func(*container){ended(0), ended(0)}, phase: corev1.PodSucceeded},
		"one of them badly":    {initDone: true, main: []func(*container){ended(0), ended(3)}, phase: corev1.PodFailed},
		"waits to start again": {initDone: true, main: []func(*container){func(c *container) { c.last = &corev1.ContainerStateTerminated{ExitCode: 1} }}, phase: corev1.PodRunning},
	}
	for name, test := range tests {
		k, _, _ := node(t)
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}}
		for range test.init {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "i"})
		}
		for range test.main {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "c"})
		}
		r := newPod(k, p)
		r.initDone = test.initDone
		for i, f := range append(append([]func(*container){}, test.init...), test.main...) {
			if c := append(append([]*container{}, r.init...), r.containers...)[i]; f != nil {
				f(c)
			}
		}
		for _, c := range append(append([]*container{}, r.init...), r.containers...) {
			if c.task != nil {
				c.task.cmd = fakeCommand()
			}
		}
		s := r.statusNow()
		ready := conditionOf(&corev1.Pod{Status: s}, corev1.PodReady).Status == corev1.ConditionTrue
		if s.Phase != test.phase || ready != test.ready {
			t.Errorf("%s: %s, ready %t; want %s, %t", name, s.Phase, ready, test.phase, test.ready)
		}
	}
}

func TestStatusWaitsForGates(t *testing.T) {
	t.Parallel()
	k, _, now := node(t)
	p := &corev1.Pod{Spec: corev1.PodSpec{ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "g"}}, Containers: []corev1.Container{{Name: "c"}}}}
	r := newPod(k, p)
	r.initDone, r.containers[0].task, r.containers[0].ready = true, &task{cmd: fakeCommand()}, true
	ready := func() corev1.PodCondition { return conditionOf(&corev1.Pod{Status: r.statusNow()}, corev1.PodReady) }
	before := ready()
	if before.Status != corev1.ConditionFalse {
		t.Error("ready before its gate is open")
	}
	*now = now.Add(time.Minute)
	if got := ready().LastTransitionTime; got != before.LastTransitionTime {
		t.Errorf("nothing changed, but the time moved to %v", got)
	}
	open := p.DeepCopy()
	open.Status.Conditions = []corev1.PodCondition{{Type: "g", Status: corev1.ConditionTrue}}
	r.update(open)
	if got := ready(); got.Status != corev1.ConditionTrue || got.LastTransitionTime == before.LastTransitionTime {
		t.Errorf("with the gate open: %+v", got)
	}
}

func TestResolvConf(t *testing.T) {
	t.Parallel()
	k, _, _ := node(t)
	r := newPod(k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}})
	want := "nameserver 10.96.0.10\nsearch n.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	if got := r.resolvConf(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	two := "2"
	r.update(&corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.1"}, Options: []corev1.PodDNSConfigOption{{Name: "attempts", Value: &two}},
	}}})
	if got, want := r.resolvConf(), "nameserver 192.0.2.1\noptions ndots:5 attempts:2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVolumePayloads(t *testing.T) {
	t.Parallel()
	k, client, _ := node(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Data: map[string][]byte{"a": []byte("1"), "b": []byte("2")}})
	r := newPod(k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"}})
	defer r.volumes.close()
	get := func(s *corev1.SecretVolumeSource) (payload, error) {
		return r.volumes.payload(t.Context(), &corev1.Volume{VolumeSource: corev1.VolumeSource{Secret: s}})
	}
	if got, err := get(&corev1.SecretVolumeSource{SecretName: "s"}); err != nil || len(got) != 2 {
		t.Errorf("all keys: %v, %v", got, err)
	}
	private := int32(0o400)
	got, err := get(&corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "a", Path: "d/x", Mode: &private}}})
	if err != nil || len(got) != 1 || string(got["d/x"].data) != "1" || got["d/x"].mode != 0o400 {
		t.Errorf("one item: %v, %v", got, err)
	}
	if got, err := get(&corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "none", Path: "x"}}}); err == nil {
		t.Errorf("a key that is not there gave %v", got)
	}
	yes := true
	if got, err := get(&corev1.SecretVolumeSource{SecretName: "absent", Optional: &yes}); err != nil || len(got) != 0 {
		t.Errorf("an optional secret: %v, %v", got, err)
	}
	if _, err := get(&corev1.SecretVolumeSource{SecretName: "absent"}); !errors.Is(err, errAbsent) {
		t.Errorf("an absent secret: %v", err)
	}
	// What is watched is seen when it comes.
	_, err = client.CoreV1().Secrets("n").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "absent"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := get(&corev1.SecretVolumeSource{SecretName: "absent"})
		if err == nil {
			break
		}
		pause(t.Context(), time.Millisecond)
	}
	if got, err := r.volumes.payload(t.Context(), &corev1.Volume{}); err == nil {
		t.Errorf("a volume of no kind is %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.objects.data(ctx, objectKey{secretKind, "n", "never used"}); err == nil {
		t.Error("an object that nobody uses has data")
	}
}
