package app

import (
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// Every control that a framework names exists; those that no framework names are
// listed, for people to see.
func TestFrameworksNameControls(t *testing.T) {
	t.Parallel()
	set, err := (&scanControls{}).load()
	if err != nil {
		t.Fatal(err)
	}
	used, named := map[string]bool{}, 0
	for id := range set.all {
		used[id] = false
	}
	for _, f := range set.frameworks {
		for _, id := range f.Controls() {
			named++
			if _, ok := used[id]; !ok {
				t.Errorf("%s names control %q, which does not exist", f.ID, id)
			}
			used[id] = true
		}
	}
	var unused []string
	for id, is := range used {
		if !is {
			unused = append(unused, id)
		}
	}
	slices.Sort(unused)
	t.Logf("%d frameworks name %d controls in all; %d of %d controls are named by none: %v", len(set.frameworks), named, len(unused), len(used), unused)
	if len(set.frameworks) < 12 || len(used) < 120 {
		t.Errorf("%d frameworks and %d controls: some are missing", len(set.frameworks), len(used))
	}
}

// A mapping says in a sentence why the control serves the requirement, which is more
// than the control's title; and what only looks enforces nothing.
func TestMappingsSayWhy(t *testing.T) {
	t.Parallel()
	set, err := (&scanControls{}).load()
	if err != nil {
		t.Fatal(err)
	}
	titles := map[string]string{}
	for _, c := range set.single {
		titles[c.Meta().ID] = c.Meta().Title
	}
	for _, c := range set.joint {
		titles[c.ID] = c.Title
	}
	n, whys := 0, map[string]bool{}
	for _, f := range set.frameworks {
		for _, r := range f.Requirements {
			for _, m := range r.Controls {
				n++
				whys[m.Why] = true
				at := f.ID + " " + r.ID + " " + m.ID
				if m.Evidence == framework.Enforces {
					t.Errorf("%s: a scan enforces nothing", at)
				}
				if title := titles[m.ID]; title != "" && strings.Contains(strings.ToLower(m.Why), strings.ToLower(title)) {
					t.Errorf("%s: why is the control's title: %s", at, m.Why)
				}
				if !strings.HasSuffix(m.Why, ".") || len(strings.Fields(m.Why)) < 6 {
					t.Errorf("%s: why is no sentence: %s", at, m.Why)
				}
			}
		}
	}
	t.Logf("%d mappings with %d different reasons", n, len(whys))
	if n < 1500 || len(whys) < n/2 {
		t.Errorf("%d mappings have %d different reasons", n, len(whys))
	}
}

// What a file says that nobody gave to the scan is unknown: it neither passes nor
// does it not apply.
func TestFilesThatAreNotThereAreUnknown(t *testing.T) {
	t.Parallel()
	set, err := (&scanControls{}).load()
	if err != nil {
		t.Fatal(err)
	}
	const etcd = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"etcd-n1","namespace":"kube-system"},"spec":{"containers":[{"name":"etcd","image":"registry.k8s.io/etcd:3.6.6-0","command":["etcd","--client-cert-auth=true"%s]%s}]}}`
	pod := func(flag, env string) string {
		return strings.Replace(strings.Replace(etcd, "%s", flag, 1), "%s", env, 1)
	}
	tests := []struct {
		name, object string
		controls     int
		judges       func(control.Meta) bool
	}{
		{"a flag", pod(`,"--config-file=/etc/etcd.yaml"`, ""), 10, func(m control.Meta) bool { return m.Category == "etcd" }},
		{"a variable", pod("", `,"env":[{"name":"ETCD_CONFIG_FILE","value":"/etc/etcd.yaml"}]`), 10, func(m control.Meta) bool { return m.Category == "etcd" }},
		{
			"plug-ins of admission", `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AdmissionConfiguration","metadata":{"name":"admission"},"plugins":[{"name":"PodSecurity","path":"pods.yaml"},{"name":"ImagePolicyWebhook","path":"images.yaml"}]}`,
			3, func(m control.Meta) bool {
				return slices.Contains([]string{"pod-security-default-privileged", "pod-security-exempt-users", "admission-image-policy-fails-open"}, m.ID)
			},
		},
	}
	for _, tt := range tests {
		o, err := inventory.New([]byte(tt.object), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := control.NewSubject(o)
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, c := range set.single {
			if !tt.judges(c.Meta()) {
				continue
			}
			ran++
			out := c.Judge(s)
			if len(out) != 1 || out[0].Verdict != bulwark.VerdictUnknown || !strings.Contains(out[0].Reason, "is not there") {
				t.Errorf("%s: %s says %+v", tt.name, c.Meta().ID, out)
			}
		}
		if ran != tt.controls {
			t.Errorf("%s: %d controls judged it, want %d", tt.name, ran, tt.controls)
		}
	}
}
