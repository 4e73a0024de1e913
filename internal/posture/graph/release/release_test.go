package release_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture/graph/release"
)

func load(tb testing.TB) *release.Data {
	tb.Helper()
	d, err := release.Load(catalog.Advisories())
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"v1.36.2":                {"1.36.2", ""},
		"1.36.2":                 {"1.36.2", ""},
		"v1.29.3-eks-abc12":      {"1.29.3", "-eks-abc12"},
		"v1.30.5-gke.1355000":    {"1.30.5", "-gke.1355000"},
		"v1.30.2+k3s1":           {"1.30.2", "+k3s1"},
		"3.5.15-0":               {"3.5.15", ""},
		"v1.31.0-rc.1":           {"1.31.0-rc.1", ""},
		"v1.31.0-rc1":            {"1.31.0-rc.1", ""},
		"v1.31.0-alpha.1.5":      {"1.31.0-alpha.1.5", ""},
		"1.4.0-rc.3-debug":       {"1.4.0-rc.3", "-debug"},
		"1.36":                   {},
		"latest":                 {},
		"":                       {},
		"v01.2.3":                {},
		"99999999999.1.1":        {},
		"-1.2.3":                 {},
		strings.Repeat("9", 1e5): {},
	} {
		v, err := release.Parse(text)
		switch {
		case want[0] == "" && err == nil:
			t.Errorf("%.40q was read as %s", text, v)
		case want[0] != "" && (err != nil || v.String() != want[0] || v.Vendor != want[1]):
			t.Errorf("%q was read as %v %q (%v), want %v", text, v.Version, v.Vendor, err, want)
		}
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	d := load(t)
	for _, tt := range []struct {
		component, version, os string
		has, hasNot            string
	}{
		{"ingress-nginx", "v1.11.4", "", "CVE-2025-1974", ""},
		{"ingress-nginx", "v1.11.5", "", "", "CVE-2025-1974"},
		{"ingress-nginx", "v1.12.0", "", "CVE-2025-1974", ""},
		{"ingress-nginx", "v1.12.1", "", "", "CVE-2025-1974"},
		{"kubelet", "v1.28.11", "linux", "CVE-2024-10220", "CVE-2024-5321"},
		{"kubelet", "v1.28.11", "windows", "CVE-2024-5321", ""},
		{"kubelet", "v1.28.12", "linux", "", "CVE-2024-10220"},
		{"kube-controller-manager", "v1.34.1", "", "CVE-2025-13281", ""},
		{"kube-controller-manager", "v1.34.2", "", "", "CVE-2025-13281"},
		{"kube-controller-manager", "v1.34.0-alpha.0", "", "CVE-2025-13281", ""},
		{"etcd", "3.5.15-0", "", "CVE-2026-33413", ""},
		{"containerd", "2.0.3", "", "CVE-2024-40635", ""},
		{"containerd", "2.0.4", "", "", "CVE-2024-40635"},
		{"containerd", "1.7.27", "", "", "CVE-2024-40635"},
		{"runc", "1.2.7", "", "CVE-2025-31133", ""},
		{"runc", "1.2.8", "", "", "CVE-2025-31133"},
		{"coredns", "v1.14.3", "", "", "CVE-2026-33190"},
		{"nothing", "v1.0.0", "", "", "CVE-2025-1974"},
	} {
		v, err := release.Parse(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, h := range d.Known(tt.component, v, tt.os) {
			names = append(names, h.CVEs...)
			if !v.LessThan(h.Fixed) {
				t.Errorf("%s %s: %s is fixed in %s", tt.component, tt.version, h.Name(), h.Fixed)
			}
		}
		if tt.has != "" && !slices.Contains(names, tt.has) || tt.hasNot != "" && slices.Contains(names, tt.hasNot) {
			t.Errorf("%s %s has %v; want %q and not %q", tt.component, tt.version, names, tt.has, tt.hasNot)
		}
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	d := load(t)
	want := []string{"cilium", "containerd", "coredns", "etcd", "ingress-nginx", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kubelet", "runc"}
	if got := d.Components(); !slices.Equal(got, want) {
		t.Errorf("advisories cover %v, want %v", got, want)
	}
	if d.Oldest() != 24 || d.Newest() != 37 {
		t.Errorf("releases 1.%d to 1.%d, want 1.24 to 1.37", d.Oldest(), d.Newest())
	}
	before := time.Time{}
	for minor := d.Oldest(); minor <= d.Newest(); minor++ {
		v, err := release.Parse(fmt.Sprintf("1.%d.0", minor))
		if err != nil {
			t.Fatal(err)
		}
		end, ok := d.End(v.Minor())
		if !ok || !end.After(before) {
			t.Errorf("1.%d ends on %s, after %s was expected", minor, end, before)
		}
		before = end
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"v1.36.2", "v1.29.3-eks-abc12", "3.5.15-0", "v1.31.0-rc.1", "latest", "1.2.3-rc.1.2.3.4-x+y"} {
		f.Add(s)
	}
	d := load(f)
	f.Fuzz(func(_ *testing.T, s string) {
		if v, err := release.Parse(s); err == nil {
			for _, c := range d.Components() {
				d.Known(c, v, "windows")
			}
		}
	})
}
