package graph

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

var _ = add(Check{
	Meta: control.Meta{
		ID: "kubelet-version-skew", Title: "A kubelet's version does not fit the API server's", Severity: bulwark.SeverityMedium, Category: "versions",
		Why:         "Nobody tests or fixes such a pair, and a kubelet that is far behind lacks years of security fixes.",
		Remediation: "Upgrade the API server first, then drain the node and upgrade its kubelet to the same minor version.",
		References:  []string{"https://kubernetes.io/releases/version-skew-policy/"},
	},
	Reads: []Kind{{"", "Node"}}, Pods: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		server, known := ix.server()
		for _, p := range ix.components() {
			if p.name != "kubelet" {
				continue
			}
			switch {
			case p.bad != "":
				emit(p.obj, unknown(p.bad))
			case !known:
				emit(p.obj, unknown("the version of the API server is not known"))
			case p.version.LessThan(minor(server.version.Version, allowed(server))):
				emit(p.obj, fail(p.field, "kubelet "+p.text+" is more than "+count(int(allowed(server)), "minor version")+" behind the API server, "+server.text))
			case minor(p.version.Version, 0).GreaterThan(minor(server.version.Version, 0)):
				r := fail(p.field, "kubelet "+p.text+" is newer than the API server, "+server.text)
				r.Severity = bulwark.SeverityLow
				emit(p.obj, r)
			default:
				emit(p.obj, pass())
			}
		}
	},
})

// allowed is how many minor versions a kubelet may be behind: API servers before
// 1.28 went with two only.
func allowed(server part) uint {
	if server.version.LessThan(version.MustParseSemantic("1.28.0-0")) {
		return 2
	}
	return 3
}

// minor gives the first version of the minor release that is back before v's.
func minor(v *version.Version, back uint) *version.Version {
	m := v.Minor()
	if m < back {
		back = m
	}
	return version.MustParseSemantic(fmt.Sprintf("%d.%d.0-0", v.Major(), m-back))
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "control-plane-version-skew", Title: "A part of the control plane does not fit the API server's version", Severity: bulwark.SeverityMedium, Category: "versions",
		Why:         "Nobody tests or fixes such a pair; controllers that are newer than the API server can write what it does not check.",
		Remediation: "Bring kube-controller-manager, kube-scheduler and kube-proxy to the minor version of the API server.",
		References:  []string{"https://kubernetes.io/releases/version-skew-policy/"},
	},
	Reads: []Kind{{"", "Node"}}, Pods: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		behind := map[string]uint{"kube-controller-manager": 1, "kube-scheduler": 1, "kube-proxy": 3}
		server, known := ix.server()
		for _, p := range ix.components() {
			most, asked := behind[p.name]
			if !asked || p.obj == nil || p.container == "" {
				continue
			}
			r := pass()
			switch {
			case p.bad != "":
				r = unknown(p.bad)
			case !known:
				r = unknown("the version of the API server is not known")
			case minor(p.version.Version, 0).GreaterThan(minor(server.version.Version, 0)):
				r = fail(p.field, p.name+" "+p.text+" is newer than the API server, "+server.text)
			case p.version.LessThan(minor(server.version.Version, most)):
				r = fail(p.field, p.name+" "+p.text+" is too far behind the API server, "+server.text)
			}
			r.Container, r.Key = p.container, p.where()
			emit(p.obj, r)
		}
	},
})

// near is how long before the end of a release an upgrade should be under way.
const near = 120 * 24 * time.Hour

var _ = add(Check{
	Meta: control.Meta{
		ID: "kubernetes-end-of-life", Title: "The Kubernetes release gets no security fixes any more, or soon", Severity: bulwark.SeverityHigh, Category: "versions",
		Why:         "Flaws that are found from then on stay open in it, and everybody can read about them.",
		Remediation: "Upgrade to a release that is supported, one minor version after the other.",
		References:  []string{"https://kubernetes.io/releases/patch-releases/"},
	},
	Reads: []Kind{{"", "Node"}}, Pods: true,
	Judge: func(ix *Index, emit emitter) {
		asked := false
		for _, p := range ix.components() {
			if p.name != "kube-apiserver" && p.name != "kubelet" {
				continue
			}
			asked = true
			r := ix.lifetime(&p)
			r.Container, r.Key = p.container, p.where()
			emit(p.obj, r)
		}
		if !asked && ix.Facts.Live {
			emit(nil, unknown("the version of the cluster is not known"))
		}
	},
})

func (ix *Index) lifetime(p *part) control.Result {
	if p.bad != "" {
		return unknown(p.bad)
	}
	if ix.Now.IsZero() {
		return unknown("the time of the scan is not known")
	}
	d := shipped()
	name := p.name + " " + p.text
	end, known := d.End(p.version.Minor())
	vendor := ""
	if ix.Facts.Managed != "" || p.version.Vendor != "" {
		vendor = "; whoever runs or builds it may fix it longer"
	}
	switch {
	case !known && p.version.Major() == 1 && p.version.Version.Minor() < d.Oldest():
		return fail(p.field, fmt.Sprintf("%s: releases before 1.%d ended years ago", name, d.Oldest()))
	case !known:
		return unknown("no end of life is known of " + name)
	case ix.Now.After(end):
		r := fail(p.field, name+": fixes ended on "+end.Format(time.DateOnly)+vendor)
		if vendor != "" {
			r.Severity = bulwark.SeverityMedium
		}
		return r
	case ix.Now.Add(near).After(end):
		r := fail(p.field, name+": fixes end on "+end.Format(time.DateOnly)+vendor)
		r.Severity = bulwark.SeverityLow
		return r
	}
	return pass()
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "component-known-vulnerability", Title: "A component of the cluster has known vulnerabilities", Severity: bulwark.SeverityHigh, Category: "versions",
		Why:         "How to use them is public, and most need no more than a pod or a request.",
		Remediation: "Upgrade the component to the version that the finding names, or a later one.",
		References:  []string{"https://kubernetes.io/docs/reference/issues-security/official-cve-feed/"},
	},
	Reads: []Kind{{"", "Node"}}, Pods: true,
	Judge: func(ix *Index, emit emitter) {
		for _, p := range ix.components() {
			r := ix.vulnerable(&p)
			r.Container, r.Key = p.container, p.name+" "+p.where()
			emit(p.obj, r)
		}
	},
})

func (ix *Index) vulnerable(p *part) control.Result {
	if p.bad != "" {
		return unknown(p.bad)
	}
	d := shipped()
	hits := d.Known(p.name, p.version, p.os)
	switch ours := strings.HasPrefix(p.name, "kube"); {
	case len(hits) == 0 && ours && p.version.Major() == 1 && p.version.Version.Minor() > d.Newest():
		// Its flaws were found after this program was made.
		return unknown(fmt.Sprintf("%s %s is newer than what is known of: releases up to 1.%d", p.name, p.text, d.Newest()))
	case len(hits) == 0:
		return pass()
	}
	fixed, severity, names, what := hits[0].Fixed, bulwark.SeverityHigh, []string(nil), ""
	for _, h := range hits {
		if fixed.LessThan(h.Fixed) {
			fixed = h.Fixed
		}
		if h.Critical {
			severity = bulwark.SeverityCritical
		}
		name := h.Name()
		if h.What != "" && (what == "" || h.Critical) {
			what = "; " + name + ": " + h.What
		}
		names = append(names, name)
	}
	message := p.name + " " + p.text + " has " + upTo(12, names) + ", fixed in " + fixed.String() + what
	if p.version.Vendor != "" || ix.Facts.Managed != "" {
		message += "; whoever built it may have put the fixes in"
		severity--
	}
	r := fail(p.field, message)
	r.Severity = severity
	return r
}
