package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// defaultPod fills what only a Pod gets, not a template.
func defaultPod(spec map[string]any) {
	if spec == nil {
		return
	}
	fillNil(spec, "enableServiceLinks", true)
	fill(spec, "serviceAccountName", cmp.Or(text(spec, "serviceAccount"), "default"))
	for _, list := range []string{"containers", "initContainers"} {
		each(spec, list, func(c map[string]any) {
			resources := object(c, "resources")
			if limits := object(resources, "limits"); len(limits) > 0 {
				requests := need(resources, "requests")
				for name, v := range limits {
					fillNil(requests, name, v)
				}
			}
			if spec["hostNetwork"] == true {
				each(c, "ports", func(p map[string]any) {
					if port, ok := p["containerPort"]; ok {
						fill(p, "hostPort", port)
					}
				})
			}
		})
	}
	defaultPodResources(spec)
}

// defaultPodSpec fills what every pod specification gets.
func defaultPodSpec(spec map[string]any) {
	fill(spec, "dnsPolicy", "ClusterFirst")
	fill(spec, "restartPolicy", "Always")
	fillNil(spec, "terminationGracePeriodSeconds", int64(30))
	fill(spec, "schedulerName", "default-scheduler")
	fillNil(spec, "securityContext", map[string]any{})
	// The older name of the field is kept alike by the API, and counts for nothing
	// beside the newer one.
	if old := text(spec, "serviceAccount"); old != "" {
		fill(spec, "serviceAccountName", old)
	}
	if name := text(spec, "serviceAccountName"); name != "" {
		if _, ok := spec["serviceAccount"].(string); ok || spec["serviceAccount"] == nil {
			spec["serviceAccount"] = name
		}
	}
	for _, list := range containerKinds {
		each(spec, list, defaultContainer)
	}
	each(spec, "volumes", func(v map[string]any) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(v)), func(k string) bool { return k != "name" && v[k] != nil }) {
			v["emptyDir"] = map[string]any{}
		}
		defaultVolumeSource(v)
	})
}

func defaultContainer(c map[string]any) {
	if zero(c["imagePullPolicy"]) {
		c["imagePullPolicy"] = pullPolicy(text(c, "image"))
	}
	fill(c, "terminationMessagePath", "/dev/termination-log")
	fill(c, "terminationMessagePolicy", "File")
	fillNil(c, "resources", map[string]any{})
	each(c, "ports", func(p map[string]any) { fill(p, "protocol", "TCP") })
	each(c, "env", func(e map[string]any) {
		from := object(e, "valueFrom")
		fill(object(from, "fieldRef"), "apiVersion", "v1")
		fillNil(object(from, "fileKeyRef"), "optional", false)
	})
	for _, name := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		if p := object(c, name); p != nil {
			fill(p, "timeoutSeconds", int64(1))
			fill(p, "periodSeconds", int64(10))
			fill(p, "successThreshold", int64(1))
			fill(p, "failureThreshold", int64(3))
			defaultHTTPGet(object(p, "httpGet"))
			fillNil(object(p, "grpc"), "service", "")
		}
	}
	lifecycle := object(c, "lifecycle")
	defaultHTTPGet(object(object(lifecycle, "postStart"), "httpGet"))
	defaultHTTPGet(object(object(lifecycle, "preStop"), "httpGet"))
}

func defaultHTTPGet(h map[string]any) {
	fill(h, "path", "/")
	fill(h, "scheme", "HTTP")
}

// defaultVolumeSource fills the source of a volume of a pod or of a
// PersistentVolume.
func defaultVolumeSource(v map[string]any) {
	fillNil(object(v, "hostPath"), "type", "")
	for _, name := range []string{"secret", "configMap", "downwardAPI", "projected"} {
		fillNil(object(v, name), "defaultMode", int64(0o644))
	}
	defaultFieldRefs(object(v, "downwardAPI"))
	each(object(v, "projected"), "sources", func(s map[string]any) {
		defaultFieldRefs(object(s, "downwardAPI"))
		fillNil(object(s, "serviceAccountToken"), "expirationSeconds", int64(3600))
	})
	if image := object(v, "image"); image != nil && zero(image["pullPolicy"]) {
		image["pullPolicy"] = pullPolicy(text(image, "reference"))
	}
	defaultClaim(object(object(object(v, "ephemeral"), "volumeClaimTemplate"), "spec"))
	fill(object(v, "iscsi"), "iscsiInterface", "default")
	rbd := object(v, "rbd")
	fill(rbd, "pool", "rbd")
	fill(rbd, "user", "admin")
	fill(rbd, "keyring", "/etc/ceph/keyring")
	azure := object(v, "azureDisk")
	fillNil(azure, "cachingMode", "ReadWrite")
	fillNil(azure, "fsType", "ext4")
	fillNil(azure, "readOnly", false)
	fillNil(azure, "kind", "Shared")
	scale := object(v, "scaleIO")
	fill(scale, "storageMode", "ThinProvisioned")
	fill(scale, "fsType", "xfs")
}

func defaultFieldRefs(downward map[string]any) {
	each(downward, "items", func(i map[string]any) { fill(object(i, "fieldRef"), "apiVersion", "v1") })
}

// pullPolicy gives the policy for an image by its tag, which is latest where there
// is neither tag nor digest. For what is no image name it is that of any tag.
func pullPolicy(image string) string {
	if tag, ok := imageTag(image); ok && tag == "latest" {
		return "Always"
	}
	return "IfNotPresent"
}

func imageTag(image string) (tag string, ok bool) {
	rest, digest, digested := strings.Cut(image, "@")
	if digested && !imageDigest(digest) {
		return "", false
	}
	name := rest
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		name, tag = rest[:colon], rest[colon+1:]
		if !imageTagText(tag) {
			return "", false
		}
	}
	// A bare digest without its algorithm is taken for an image's id.
	const id = 64
	if !imageName(name) || len(image) == id && onlyOf(image, digits+"abcdef") {
		return "", false
	}
	if tag == "" && !digested {
		tag = "latest"
	}
	return tag, true
}

// imageName reports whether a name without tag and digest is one: components of
// small letters and digits, the first of which may be a host instead.
func imageName(name string) bool {
	const most, library = 255, len("library/")
	first, path, more := strings.Cut(name, "/")
	hosted := more && (strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first)
	if hosted && imageHost(first) {
		name = path
	} else if !more && len(name)+library > most {
		return false
	}
	if name == "" || len(name) > most {
		return false
	}
	for c := range strings.SplitSeq(name, "/") {
		if !imageComponent(c) {
			return false
		}
	}
	return true
}

func imageHost(host string) bool {
	if address, ok := strings.CutPrefix(host, "["); ok { // IPv6
		address, port, ok := strings.Cut(address, "]")
		return ok && onlyOf(address, "0123456789abcdefABCDEF:") && (port == "" || port[0] == ':' && onlyOf(port[1:], digits))
	}
	host, port, hasPort := strings.Cut(host, ":")
	if hasPort && !onlyOf(port, digits) {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(host), ".") {
		if !onlyOf(label, small+digits+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

const (
	small  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// imageComponent reports whether c is runs of small letters and digits, between
// which stands one period, one or two underscores, or hyphens.
func imageComponent(c string) bool {
	word := func(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
	if c == "" || !word(c[0]) || !word(c[len(c)-1]) {
		return false
	}
	for i := 0; i < len(c); {
		start := i
		for i < len(c) && !word(c[i]) {
			i++
		}
		if sep := c[start:i]; sep != "" && sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
			return false
		}
		for i < len(c) && word(c[i]) {
			i++
		}
	}
	return true
}

func imageTagText(tag string) bool {
	const most = 128
	lower := strings.ToLower(tag)
	return len(tag) <= most && onlyOf(lower, small+digits+"_.-") && tag[0] != '.' && tag[0] != '-'
}

func imageDigest(digest string) bool {
	algorithm, sum, _ := strings.Cut(digest, ":")
	sizes := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}
	return sizes[algorithm] != 0 && len(sum) == sizes[algorithm] && onlyOf(sum, digits+"abcdef")
}

func onlyOf(s, set string) bool {
	return s != "" && strings.Trim(s, set) == ""
}
