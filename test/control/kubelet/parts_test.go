package kubelet

import (
	"bytes"
	"context"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"$(A)": "1", "x$(A)y$(A)": "x1y1", "$(NONE)": "$(NONE)", "$$(A)": "$(A)", "$$$(A)": "$1", "$": "$", "$(A": "$(A", "$A": "$A", "$(B)": "$(A)", "": "",
	} {
		if got := expand(in, vars); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	t.Parallel()
	if got, err := sysctlPath("net.ipv4.ip_forward"); err != nil || got != "/proc/sys/net/ipv4/ip_forward" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"kernel.panic", "net/../kernel/panic", "net...kernel.panic", ""} {
		if got, err := sysctlPath(bad); err == nil {
			t.Errorf("%q leads to %s", bad, got)
		}
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, plain := filepath.Join(dir, "program"), filepath.Join(dir, "plain")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var i Images
	for prefix, path := range map[string]string{"example.test/": program, "example.test/tree": dir} {
		if err := i.Add(prefix, path); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, path := range map[string]string{"a": plain, "b": filepath.Join(dir, "absent")} {
		if err := i.Add(prefix, path); err == nil {
			t.Errorf("%s was taken for a program", path)
		}
	}
	for name, want := range map[string]image{"example.test/x:1": {program, false}, "example.test/tree:1": {dir, true}} {
		if got, ok := i.find(name); !ok || got != want {
			t.Errorf("image %s is %v, %t", name, got, ok)
		}
	}
	if got, ok := i.find("elsewhere.test/x"); ok {
		t.Errorf("an image nobody added is %v", got)
	}
	if got, ok := (Images{}).find("x"); ok {
		t.Errorf("without images there is %v", got)
	}
}

func TestPool(t *testing.T) {
	t.Parallel()
	p := newPool(netip.MustParsePrefix("10.0.0.0/30"))
	var got []string
	for range 3 {
		ip, _, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ip.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, got); diff != "" {
		t.Error(diff)
	}
	if ip, _, err := p.take(); err == nil {
		t.Errorf("a fourth address: %s", ip)
	}
	p.free(netip.MustParseAddr("10.0.0.2"))
	if ip, n, err := p.take(); err != nil || ip.String() != "10.0.0.2" || n != 4 {
		t.Errorf("after one was freed: %s, number %d, %v", ip, n, err)
	}
}

func TestPayloadIsSwappedWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	read := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			rel, relErr := filepath.Rel(dir, path)
			if err != nil || relErr != nil || info.IsDir() || strings.HasPrefix(rel, "..") {
				return err
			}
			if target, err := filepath.EvalSymlinks(path); err == nil {
				if s, err := os.Stat(target); err == nil && s.IsDir() {
					rel, path = rel+"/b", path+"/b"
				}
			}
			b, err := os.ReadFile(path)
			got[rel] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := payload{"a": {[]byte("1"), 0o400}, "d/b": {[]byte("2"), 0o644}}
	second := payload{"a": {[]byte("3"), 0o644}}
	for _, p := range []payload{first, second, first} {
		if err := p.write(dir, -1); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for name, f := range p {
			want[name] = string(f.data)
		}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode() != 0o400 {
		t.Errorf("mode of a: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 { // a, d, ..data and its one generation
		t.Errorf("%d entries are left, %v", len(entries), err)
	}
	for _, bad := range []string{"../x", "/x", "..x", "a/../../x", ""} {
		if err := (payload{bad: {nil, 0o644}}).write(dir, -1); err == nil {
			t.Errorf("a file %q was written", bad)
		}
	}
	if first.equal(second) || !first.equal(payload{"a": {[]byte("1"), 0o400}, "d/b": {[]byte("2"), 0o644}}) {
		t.Error("payloads are compared wrongly")
	}
}

func TestLogQueries(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	text := "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr F two\n" +
		"2026-01-01T00:00:02Z stdout P thr\n2026-01-01T00:00:02Z stdout F ee\n2026-01-01T00:00:03Z stdout F \n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)
	for query, want := range map[string]string{
		"":                                   "one\ntwo\nthree\n\n",
		"tailLines=0":                        "",
		"tailLines=1":                        "\n",
		"stream=Stderr":                      "two\n",
		"sinceTime=2026-01-01T00:00:02Z":     "three\n\n",
		"sinceSeconds=2":                     "two\nthree\n\n",
		"limitBytes=5":                       "one\nt",
		"timestamps=true&stream=Stderr":      "2026-01-01T00:00:01Z two\n",
		"tailLines=9&limitBytes=4&follow=no": "one\n",
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := parseLogQuery(v, now)
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
		var out bytes.Buffer
		if err := followLog(t.Context(), &out, path, q, nil); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v, want %q", query, out.String(), err, want)
		}
	}
	for _, bad := range []string{"tailLines=x", "tailLines=-1", "sinceTime=yesterday"} {
		v, err := url.ParseQuery(bad)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := parseLogQuery(v, now); err == nil {
			t.Errorf("%s was understood as %+v", bad, q)
		}
	}
}

func TestOutputIsLoggedAndFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	o, err := openOutput(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var followed bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- followLog(context.WithoutCancel(t.Context()), &followed, o.path, logQuery{tail: -1, follow: true}, over)
	}()
	var attached bytes.Buffer
	id := o.attach(stdoutStream, &attached)
	long := strings.Repeat("x", maxLogLine+10)
	for _, s := range []string{"a", "b\nc\n", long + "\n", "last"} {
		if _, err := o.stream(stdoutStream).Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	o.detach(id)
	if _, err := o.stream(stderrStream).Write([]byte("\nerr\n")); err != nil {
		t.Fatal(err)
	}
	o.close()
	close(over)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := "ab\nc\n" + long + "\n\nerr\nlast\n"; followed.String() != want {
		t.Errorf("followed %d bytes, want %d: ends %q", followed.Len(), len(want), followed.String()[max(0, followed.Len()-20):])
	}
	if want := "ab\nc\n" + long + "\nlast"; attached.String() != want {
		t.Errorf("attached to %d bytes, want %d", attached.Len(), len(want))
	}
	if got := o.tail(t.Context(), 9); got != "err\nlast\n" && got != "\nerr\nlast\n"[1:] {
		t.Errorf("the tail is %q", got)
	}
	if _, err := openOutput(dir, now); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, previousLogFile)); err != nil {
		t.Error(err)
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	i := func(n int64) *int64 { return &n }
	yes := true
	tests := map[string]struct {
		pod  *corev1.PodSecurityContext
		own  *corev1.SecurityContext
		want user
		bad  bool
	}{
		"nobody says":           {want: user{}},
		"the pod says":          {pod: &corev1.PodSecurityContext{RunAsUser: i(5), RunAsGroup: i(6), FSGroup: i(7)}, want: user{5, 6, []uint32{7}}},
		"the container wins":    {pod: &corev1.PodSecurityContext{RunAsUser: i(5)}, own: &corev1.SecurityContext{RunAsUser: i(8)}, want: user{uid: 8}},
		"anyone but root":       {own: &corev1.SecurityContext{RunAsNonRoot: &yes}, want: user{uid: 65532, gid: 65532}},
		"root and not root":     {pod: &corev1.PodSecurityContext{RunAsNonRoot: &yes}, own: &corev1.SecurityContext{RunAsUser: i(0)}, bad: true},
		"not root with a group": {pod: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsGroup: i(9)}, want: user{uid: 65532, gid: 9}},
	}
	for name, test := range tests {
		r := newPod(&kubelet{}, &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: test.pod, Containers: []corev1.Container{{Name: "c", SecurityContext: test.own}}}})
		got, err := r.containers[0].user()
		if (err != nil) != test.bad || !test.bad && !cmp.Equal(got, test.want, cmp.AllowUnexported(user{})) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if c := (user{uid: 1}).credential(false); c != nil {
		t.Errorf("where users cannot change there is %+v", c)
	}
}

func TestResourceField(t *testing.T) {
	t.Parallel()
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("64Mi")},
		Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")},
	}}
	for _, test := range []struct{ resource, divisor, want string }{
		{"limits.cpu", "", "2"},
		{"limits.cpu", "1m", "1500"},
		{"limits.memory", "", "67108864"},
		{"limits.memory", "1Mi", "64"},
		{"requests.cpu", "1m", "250"},
		{"requests.memory", "", "0"},
		{"limits.ephemeral-storage", "1Gi", "100"},
	} {
		s := &corev1.ResourceFieldSelector{Resource: test.resource}
		if test.divisor != "" {
			s.Divisor = resource.MustParse(test.divisor)
		}
		if got := resourceField(c, s); got != test.want {
			t.Errorf("%s by %q: %s, want %s", test.resource, test.divisor, got, test.want)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	r := newPod(&kubelet{Config: Config{NodeIP: "10.243.0.1"}}, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{"a/b": "c", "d": "e"}, Annotations: map[string]string{"x": "y"}},
		Spec:       corev1.PodSpec{NodeName: "node", ServiceAccountName: "sa"},
	})
	r.ip = netip.MustParseAddr("10.244.0.9")
	for path, want := range map[string]string{
		"metadata.name": "p", "metadata.namespace": "n", "metadata.uid": "u", "spec.nodeName": "node", "spec.serviceAccountName": "sa",
		"status.podIP": "10.244.0.9", "status.hostIP": "10.243.0.1", "metadata.labels['a/b']": "c", "metadata.annotations['x']": "y",
		"metadata.labels": "a/b=\"c\"\nd=\"e\"", "metadata.labels['none']": "",
	} {
		if got, err := r.field(path); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	if got, err := r.field("spec.containers"); err == nil {
		t.Errorf("an unknown field is %q", got)
	}
}
