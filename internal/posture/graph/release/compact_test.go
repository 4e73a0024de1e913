package release_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture/graph/release"
)

var corpus = flag.String("corpus", "", "a folder of golang/vulndb OSV records; with it, components.json is written anew")

const components = "../../../../catalog/advisories/components.json"

// record is the part of an OSV record that is read.
type record struct {
	ID        string   `json:"id"`
	Aliases   []string `json:"aliases"`
	Withdrawn string   `json:"withdrawn"`
	Affected  []struct {
		Package struct {
			Name string `json:"name"`
		} `json:"package"`
		Ranges   []ranges `json:"ranges"`
		Specific struct {
			Custom []ranges `json:"custom_ranges"`
		} `json:"ecosystem_specific"`
	} `json:"affected"`
}

type ranges struct {
	Events []struct {
		Introduced string `json:"introduced"`
		Fixed      string `json:"fixed"`
	} `json:"events"`
}

// parts are the components of Kubernetes that an advisory is about, where it is
// not the API server. Those of kubectl are left out: no cluster shows which one
// its users have.
var parts = map[string]string{
	"CVE-2019-1002101": "kubectl", "CVE-2019-11251": "kubectl", "CVE-2018-1002100": "kubectl", "CVE-2021-25743": "kubectl", "CVE-2019-11243": "kubectl",
	"CVE-2020-8551": "kubelet", "CVE-2020-8557": "kubelet", "CVE-2019-11245": "kubelet", "CVE-2018-1002101": "kubelet", "CVE-2021-25741": "kubelet",
	"CVE-2023-2431": "kubelet", "CVE-2023-3955": "kubelet", "CVE-2023-3676": "kubelet", "CVE-2023-5528": "kubelet", "CVE-2024-5321": "kubelet",
	"CVE-2024-10220": "kubelet", "CVE-2025-0426": "kubelet", "CVE-2024-9042": "kubelet", "CVE-2017-1002102": "kubelet", "CVE-2015-5305": "kubelet",
	"CVE-2020-8558": "kube-proxy", "CVE-2021-25736": "kube-proxy",
	"CVE-2020-8555": "kube-controller-manager", "CVE-2020-8566": "kube-controller-manager", "CVE-2020-8563": "kube-controller-manager",
	"CVE-2024-0793": "kube-controller-manager", "CVE-2025-13281": "kube-controller-manager",
}

var windows = []string{"CVE-2023-3955", "CVE-2023-3676", "CVE-2023-5528", "CVE-2024-5321", "CVE-2024-9042", "CVE-2021-25736"}

// told are those worth more than their number, in our words.
var told = map[string]string{
	"CVE-2025-1974":  "whoever reaches its admission webhook runs code in the controller, which reads all Secrets",
	"CVE-2025-31133": "a container can break out through masked paths",
	"CVE-2025-52565": "a container can break out through its console",
	"CVE-2025-52881": "a container can write into the node's /proc",
	"CVE-2024-21626": "a container can break out through a leaked file descriptor",
	"CVE-2024-10220": "a gitRepo volume runs commands on the node",
	"CVE-2021-25741": "a subPath mount reaches files of the node",
	"CVE-2022-3294":  "users who may proxy to nodes reach other addresses through the API server",
	"CVE-2023-5044":  "whoever writes an Ingress runs code in the controller",
}

var critical = []string{"CVE-2025-1974", "CVE-2024-21626", "CVE-2017-1000056"}

func component(module, cve string) string {
	switch module {
	case "k8s.io/kubernetes":
		if p := parts[cve]; p != "" {
			return p
		}
		return "kube-apiserver"
	case "k8s.io/ingress-nginx":
		return "ingress-nginx"
	case "github.com/containerd/containerd", "github.com/containerd/containerd/v2":
		return "containerd"
	case "github.com/opencontainers/runc":
		return "runc"
	case "github.com/coredns/coredns":
		return "coredns"
	case "github.com/cilium/cilium":
		return "cilium"
	case "go.etcd.io/etcd", "go.etcd.io/etcd/v3", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/client/pkg/v3":
		return "etcd"
	}
	return ""
}

// pairs makes ranges of events. Ones that never end are left out: either the fix
// is in another module, or there is none and the advisory says nothing that an
// upgrade changes. So are pseudo-versions, which no release has.
func pairs(module string, all []ranges) []release.Range {
	var out []release.Range
	for _, r := range all {
		since := ""
		for _, e := range r.Events {
			if e.Introduced != "" {
				since = e.Introduced
			}
			if e.Fixed == "" || strings.Count(e.Fixed, "-") > 1 {
				continue
			}
			if since == "0" {
				since = "0.0.0"
				if module == "github.com/containerd/containerd/v2" {
					since = "2.0.0-0"
				}
			}
			if strings.Count(since, "-") > 1 {
				since = e.Fixed[:strings.LastIndexByte(e.Fixed, '.')] + ".0"
			}
			if since != e.Fixed {
				out = append(out, release.Range{Since: since, Fixed: e.Fixed})
			}
		}
	}
	return out
}

// TestCompact writes components.json anew:
//
//	go test ./internal/posture/graph/release -run TestCompact -corpus DIR
func TestCompact(t *testing.T) {
	if *corpus == "" {
		data, err := release.Load(catalog.Advisories())
		if err != nil {
			t.Fatal(err)
		}
		if n := data.Count(); n < 120 {
			t.Errorf("components.json has %d advisories, at least 120 are expected", n)
		}
		return
	}
	files, err := filepath.Glob(filepath.Join(*corpus, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no records in %s: %v", *corpus, err)
	}
	var all []*release.Advisory
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if r.Withdrawn == "" {
			all = append(all, compact(&r)...)
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	out.WriteString(`{
"source": "The Go vulnerability database, https://go.googlesource.com/vulndb (github.com/golang/vulndb, commit a752ea54fd1b989d208a270aeef772f55a36b87a)",
"licence": "CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/",
"changes": "Reduced to ids and version ranges; withdrawn records, ranges without a fixed release and kubectl are left out; component, os, critical and what are ours. Made by TestCompact in internal/posture/graph/release.",
"advisories": [
`)
	for i, a := range all {
		if i > 0 {
			out.Truncate(out.Len() - 1)
			out.WriteString(",\n")
		}
		if err := e.Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	out.WriteString("]}\n")
	if err := os.WriteFile(components, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records, %d advisories", len(files), len(all))
}

func compact(r *record) []*release.Advisory {
	var cves []string
	for _, a := range r.Aliases {
		if strings.HasPrefix(a, "CVE-") {
			cves = append(cves, a)
		}
	}
	slices.Sort(cves)
	first := ""
	if len(cves) > 0 {
		first = cves[0]
	}
	by := map[string]*release.Advisory{}
	var out []*release.Advisory
	for _, a := range r.Affected {
		name := component(a.Package.Name, first)
		if name == "" || name == "kubectl" {
			continue
		}
		found := append(pairs(a.Package.Name, a.Ranges), pairs(a.Package.Name, a.Specific.Custom)...)
		if len(found) == 0 {
			continue
		}
		adv := by[name]
		if adv == nil {
			adv = &release.Advisory{ID: r.ID, CVEs: cves, Component: name, What: told[first], Critical: slices.Contains(critical, first)}
			if slices.Contains(windows, first) {
				adv.OS = "windows"
			}
			by[name] = adv
			out = append(out, adv)
		}
		adv.Ranges = append(adv.Ranges, found...)
	}
	return out
}
