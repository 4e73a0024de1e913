package provision

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func portMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "bulwark", Name: PortsName}, Data: data}
}

// apply writes changes down, as the API server would.
func apply(cm *corev1.ConfigMap, changes map[string]*string) *corev1.ConfigMap {
	data := map[string]string{}
	if cm != nil {
		maps.Copy(data, cm.Data)
	}
	for k, v := range changes {
		if v == nil {
			delete(data, k)
		} else {
			data[k] = *v
		}
	}
	return portMap(data)
}

func TestDamagedPortsAreNotTouched(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]map[string]string{
		"key is no number":   {"http": "shop/edge:80"},
		"key below":          {"9999": "shop/edge:80"},
		"key above":          {"32768": "shop/edge:80"},
		"key beyond 16 bits": {"75536": "shop/edge:80"},
		"key with zero":      {"010001": "shop/edge:80"},
		"no value":           {"10001": ""},
		"no port":            {"10001": "shop/edge"},
		"port 0":             {"10001": "shop/edge:0"},
		"port beyond":        {"10001": "shop/edge:65536"},
		"upper case":         {"10001": "Shop/edge:80"},
		"second line":        {"10001": "shop/edge:80\n"},
		"three parts":        {"10001": "a/b/c:80"},
		"no time":            {"10001": "shop/edge:80 freed="},
		"not a time":         {"10001": "shop/edge:80 freed=2026"},
		"twice":              {"10001": "shop/edge:80", "10002": "shop/edge:80"},
		"twice, one freed":   {"10001": "shop/edge:80", "10002": "shop/edge:80 freed=2026-11-21T11:00:00Z"},
	} {
		cm := portMap(bad)
		cm.Data["20000"] = "pay/edge:443"
		table := readPorts(cm)
		if !strings.HasPrefix(table.damage, "ConfigMap bulwark/bulwark-ports is damaged: key ") {
			t.Errorf("%s: damage %q", name, table.damage)
		}
		if got := table.of("pay", "edge"); got[443] != 20000 {
			t.Errorf("%s: a port in use was lost: %v", name, got)
		}
		changes, err := table.changes(demand{want: []owner{{"new", "gw", 80}}}, noon)
		if len(changes) != 0 || err != nil {
			t.Errorf("%s: changes %v, %v", name, changes, err)
		}
	}
	cm := portMap(nil)
	cm.BinaryData = map[string][]byte{"10001": []byte("shop/edge:80")}
	if readPorts(cm).damage == "" {
		t.Error("binary data: not damage")
	}
}

func TestPortsAreHeldAndComeBack(t *testing.T) {
	t.Parallel()
	edge := owner{"shop", "edge", 80}
	run := func(cm *corev1.ConfigMap, now time.Time, d demand) *corev1.ConfigMap {
		changes, err := readPorts(cm).changes(d, now)
		if err != nil {
			t.Fatal(err)
		}
		return apply(cm, changes)
	}
	cm := run(nil, noon, demand{want: []owner{edge}})
	port := readPorts(cm).ports[edge]
	cm = run(cm, noon, demand{})
	if got := readPorts(cm).of("shop", "edge"); len(got) != 0 {
		t.Errorf("given back and still in use: %v", got)
	}
	if got := readPorts(run(cm, noon.Add(PortHold), demand{want: []owner{edge}})).of("shop", "edge"); got[80] != port {
		t.Errorf("not the same port again: %v, was %d", got, port)
	}
	if got := run(cm, noon.Add(PortHold), demand{}); len(got.Data) != 1 {
		t.Errorf("forgotten too early: %v", got.Data)
	}
	if got := run(cm, noon.Add(PortHold+time.Second), demand{}); len(got.Data) != 0 {
		t.Errorf("not forgotten: %v", got.Data)
	}
	kept := run(run(nil, noon, demand{want: []owner{edge}}), noon, demand{keep: map[owner]bool{{"shop", "edge", 0}: true}})
	if got := readPorts(kept).of("shop", "edge"); got[80] != port {
		t.Errorf("a Gateway without valid listeners lost its port: %v", kept.Data)
	}
}

func TestPortsInUseSurviveALostConfigMap(t *testing.T) {
	t.Parallel()
	a, b, c := owner{"shop", "a", 80}, owner{"shop", "b", 80}, owner{"shop", "c", 80}
	first, _ := readPorts(nil).free(a)
	d := demand{want: []owner{a, b, c}, inUse: map[owner]uint16{b: first, c: 20000}}
	changes, err := readPorts(nil).changes(d, noon)
	if err != nil {
		t.Fatal(err)
	}
	got := readPorts(apply(nil, changes)).ports
	if got[b] != first || got[c] != 20000 || got[a] == first || got[a] == 0 {
		t.Errorf("ports %v, want b to keep %d and c 20000", got, first)
	}
	// What an EndpointSlice claims must not count against what is written down.
	cm := portMap(map[string]string{"20000": "pay/edge:443", "20001": "old/edge:80 freed=2026-11-21T11:59:00Z"})
	changes, err = readPorts(cm).changes(demand{
		want: []owner{a, b, {"pay", "edge", 443}}, inUse: map[owner]uint16{a: 20000, b: 20001, {"pay", "edge", 443}: 15000},
	}, noon)
	if err != nil {
		t.Fatal(err)
	}
	after := readPorts(apply(cm, changes)).ports
	if after[owner{"pay", "edge", 443}] != 20000 || after[a] == 20000 || after[b] == 20001 {
		t.Errorf("ports %v: a port in use, or one just given back, was claimed", after)
	}
}

func TestPortsRunOut(t *testing.T) {
	t.Parallel()
	data := map[string]string{}
	for p := MinPort; p <= MaxPort; p++ {
		data[strconv.Itoa(p)] = "shop/gw-" + strconv.Itoa(p) + ":80"
	}
	delete(data, "12345")
	cm := portMap(data)
	keep := map[owner]bool{}
	for p := MinPort; p <= MaxPort; p++ {
		keep[owner{"shop", "gw-" + strconv.Itoa(p), 0}] = true
	}
	changes, err := readPorts(cm).changes(demand{want: []owner{{"x", "a", 80}, {"x", "b", 80}}, keep: keep}, noon)
	if err == nil || !strings.Contains(err.Error(), "1 listener ports get none, the first is x/b:80") {
		t.Errorf("error %v", err)
	}
	if len(changes) != 1 || changes["12345"] == nil || *changes["12345"] != "x/a:80" {
		t.Errorf("changes %v", changes)
	}
}

// TestPortsProperty plays leaders that come and go over Gateways that come and
// go, and checks after each step that nobody shares a port, that nobody's port
// moves and that no port changes hands within its hold.
func TestPortsProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var cm *corev1.ConfigMap
		now := noon
		type left struct {
			owner owner
			at    time.Time
		}
		lastUse := map[uint16]left{}
		owners := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) owner {
			return owner{
				rapid.StringMatching(`[a-z][a-z0-9]{0,3}`).Draw(t, "namespace"),
				rapid.StringMatching(`[a-z][a-z0-9.]{0,3}[a-z]`).Draw(t, "name"), rapid.Int32Range(1, 65535).Draw(t, "port"),
			}
		}), 1, 12, func(o owner) owner { return o }).Draw(t, "owners")
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
			want := rapid.SliceOfDistinct(rapid.SampledFrom(owners), func(o owner) owner { return o }).Draw(t, "want")
			before := readPorts(cm)
			changes, err := readPorts(cm).changes(demand{want: want}, now)
			if err != nil {
				t.Fatal(err)
			}
			shuffled := slices.Clone(want)
			slices.Reverse(shuffled)
			if other, _ := readPorts(cm).changes(demand{want: shuffled}, now); len(other) != len(changes) || apply(cm, other).String() != apply(cm, changes).String() {
				t.Fatalf("depends on the order: %v and %v", changes, other)
			}
			cm = apply(cm, changes)
			after := readPorts(cm)
			if after.damage != "" {
				t.Fatalf("wrote what it cannot read: %s", after.damage)
			}
			for _, o := range want {
				port, ok := after.ports[o]
				if !ok || !after.holdings[port].freed.IsZero() || port < MinPort || port > MaxPort {
					t.Fatalf("%s has no port", o)
				}
				if old, had := before.ports[o]; had && old != port {
					t.Fatalf("%s moved from %d to %d", o, old, port)
				}
				if l, used := lastUse[port]; used && l.owner != o && now.Sub(l.at) <= PortHold {
					t.Fatalf("%d went from %s to %s within %v", port, l.owner, o, now.Sub(l.at))
				}
			}
			// A port is in use up to the step that gives it back.
			for port, h := range before.holdings {
				if h.freed.IsZero() {
					lastUse[port] = left{h.owner, now}
				}
			}
			if again, _ := readPorts(cm).changes(demand{want: want}, now); len(again) != 0 {
				t.Fatalf("writes again though nothing changed: %v", again)
			}
		}
	})
}

func FuzzReadPorts(f *testing.F) {
	f.Add("10001", "shop/edge:80")
	f.Add("10001", "shop/edge:80 freed=2026-11-21T11:00:00Z")
	f.Add("01", "a/b:0 freed=")
	f.Fuzz(func(t *testing.T, key, value string) {
		table := readPorts(portMap(map[string]string{key: value}))
		if (table.damage == "") == (len(table.holdings) == 0) {
			t.Fatalf("damage %q and %d holdings", table.damage, len(table.holdings))
		}
		for _, h := range table.holdings {
			if h.freed.IsZero() && h.String() != value {
				t.Fatalf("%q reads as %q", value, h)
			}
		}
	})
}
