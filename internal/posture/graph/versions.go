package graph

import (
	"cmp"
	"fmt"
	"strings"
	"sync"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/graph/release"
)

// part is a component of the cluster and the version that was found of it.
type part struct {
	name      string // as catalog/advisories has it
	text      string // the version as it stands there
	version   release.Version
	bad       string // why the version is not known
	obj       *inventory.Object
	field     string
	container string
	os        string
}

// images are the last elements of image names of components.
func component(image string) string {
	name := repository(image)
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case last == "runc", last == "containerd", last == "kube-apiserver", last == "kube-controller-manager", last == "kube-scheduler", last == "kube-proxy", last == "etcd", last == "coredns":
		return last
	case strings.HasSuffix(name, "ingress-nginx/controller"), last == "ingress-nginx-controller", last == "nginx-ingress-controller":
		return "ingress-nginx"
	case last == "cilium" || strings.HasSuffix(name, "cilium/operator-generic"):
		return "cilium"
	case strings.HasSuffix(name, "/hyperkube"):
		return "kube-apiserver"
	}
	return ""
}

// tag gives the tag of an image, "" where it has none.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[i+1:]
	}
	return ""
}

// components gives all components that can be seen; a view has only those in its
// pods.
func (ix *Index) components() []part {
	return ix.parts.get(func() []part {
		var out []part
		put := func(p part) {
			v, err := release.Parse(p.text)
			if err != nil {
				p.bad = p.name + ": " + err.Error()
			}
			p.version = v
			out = append(out, p)
		}
		if ix.whole == nil {
			if ix.Facts.Version != "" {
				put(part{name: "kube-apiserver", text: ix.Facts.Version})
			}
			for _, o := range ix.Kind("", "Node") {
				for _, p := range keep(ix, o, func() []part { return nodeParts(o, ix.content(o)) }) {
					put(p)
				}
			}
			for _, v := range ix.all().list {
				out = append(out, v.components()...)
			}
			return out
		}
		for _, w := range ix.workloads().all {
			for _, c := range w.containers {
				if name := component(c.image); name != "" {
					put(part{name: name, text: tag(c.image), obj: w.obj, field: c.path + ".image", container: c.name})
				}
			}
		}
		return out
	})
}

func nodeParts(o *inventory.Object, content map[string]any) []part {
	var out []part
	info := fields(content, "status", "nodeInfo")
	os := text(info, "operatingSystem")
	for _, f := range [][2]string{{"kubeletVersion", "kubelet"}, {"kubeProxyVersion", "kube-proxy"}} {
		if v := text(info, f[0]); v != "" {
			out = append(out, part{name: f[1], text: v, obj: o, field: "status.nodeInfo." + f[0], os: os})
		}
	}
	if engine, v, ok := strings.Cut(text(info, "containerRuntimeVersion"), "://"); ok && engine == "containerd" {
		out = append(out, part{name: engine, text: v, obj: o, field: "status.nodeInfo.containerRuntimeVersion", os: os})
	}
	return out
}

// shipped gives what is known of releases; it is decoded once.
var shipped = sync.OnceValue(func() *release.Data { //nolint:gochecknoglobals // constant data of this program
	d, err := release.Load(catalog.Advisories())
	if err != nil {
		panic(fmt.Errorf("the shipped advisories: %w", err)) // they are tested
	}
	return d
})

// server gives the version of the API server, from the cluster or, in files, from
// its static pod.
func (ix *Index) server() (part, bool) {
	for _, p := range ix.components() {
		if p.name == "kube-apiserver" && p.bad == "" {
			return p, true
		}
	}
	return part{}, false
}

func (p *part) where() string { return cmp.Or(p.container, p.name) }
