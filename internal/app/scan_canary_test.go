package app

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/posture/output"
)

// canaries are made-up values, each for one place, that must not come out again.
type canaries struct {
	all map[string]string // by what they stand in
	// kept are those that are not in Secrets: what --save writes holds them.
	kept map[string]bool
}

// value makes a canary. It looks like a password: the controls are to find it.
func (c *canaries) value(place string) string {
	v := "Cnry7" + strings.ToLower(rand.Text()[:14]) + "X"
	c.all[place] = v
	return v
}

// open makes one that stands in an object which is no Secret.
func (c *canaries) open(place string) string {
	c.kept[place] = true
	return c.value(place)
}

// leaks gives the places whose canary is in a text: as it is, or in base64 wherever in
// three bytes it begins, or quoted.
func (c *canaries) leaks(text string, saved bool) []string {
	var out []string
	for place, v := range c.all {
		if saved && c.kept[place] {
			continue
		}
		forms := []string{v, strings.ToUpper(v)}
		for shift := range 3 {
			coded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + v))
			forms = append(forms, coded[(shift*8+5)/6:len(coded)-2])
		}
		if slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(text, f) }) {
			out = append(out, place)
		}
	}
	slices.Sort(out)
	return out
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func packed(t *testing.T, s string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write([]byte(s))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type object = map[string]any

// plant makes objects with a canary in every place that may hold a secret.
func (c *canaries) plant(t *testing.T) []object {
	t.Helper()
	key := func(place string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(strings.Repeat("k", 60) + c.value(place))}))
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("public")}))
	text := func(v any) string {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	meta := func(name string, more object) object {
		m := object{"name": name, "namespace": "shop", "uid": "uid-" + name}
		maps.Copy(m, more)
		return m
	}
	secret := func(name, kind string, data, annotations object) object {
		return object{"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data, "metadata": meta(name, object{"annotations": annotations})}
	}
	old := object{"apiVersion": "v1", "kind": "Secret", "data": object{"password": b64(c.value("last-applied data"))}, "stringData": object{"p": c.value("last-applied stringData")}}
	release := packed(t, text(object{"config": object{"password": c.value("helm values")}, "manifest": "password: " + c.value("helm manifest")}))
	broken := "-----BEGIN CERTIFICATE-----\n~\n" + key("key behind a broken certificate")
	out := []object{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": "shop", "annotations": object{"note": "password=" + c.open("namespace annotation")}}},
		secret("opaque", "Opaque", object{"password": b64(c.value("data")), "DB_URL": b64("postgres://shop:" + c.value("url in data") + "@db/shop")}, object{
			"kubectl.kubernetes.io/last-applied-configuration": text(old), "objectset.rio.cattle.io/applied": b64(packed(t, text(old))), "copy": b64(text(old)), "yaml": "data:\n  p: " + c.value("YAML in an annotation"),
		}),
		{"apiVersion": "v1", "kind": "Secret", "stringData": object{"password": c.value("stringData")}, "metadata": meta("string", object{"data": object{"p": c.value("metadata.data")}, "managedFields": []any{object{"manager": c.value("managedFields")}}}), "extra": c.value("extra field of a secret")},
		secret("tls", "kubernetes.io/tls", object{"tls.crt": b64(certificate), "tls.key": b64(key("tls.key"))}, object{}),
		secret("tls-broken", "kubernetes.io/tls", object{"tls.crt": b64(broken), "tls.key": b64(key("tls.key 2"))}, object{}),
		secret("pull", "kubernetes.io/dockerconfigjson", object{".dockerconfigjson": b64(text(object{"auths": object{"shop.example": object{"password": c.value("docker password"), "auth": b64("robot:" + c.value("docker auth"))}}}))}, object{}),
		secret("sh.helm.release.v1.web.v1", "helm.sh/release.v1", object{"release": b64(b64(release))}, object{}),
		secret("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", object{"token-id": b64("abcdef"), "token-secret": b64(c.value("bootstrap token"))}, object{}),
		secret("account", "kubernetes.io/service-account-token", object{"token": b64("eyJhbGciOiJSUzI1NiJ9." + c.value("service account token") + ".x")}, object{"kubernetes.io/service-account.name": "web"}),
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("conf", object{"annotations": object{"api-token": c.open("annotation")}}), "data": object{
			"password": c.open("configmap"), "app.properties": "a=b\ndb.password=" + c.open("properties") + "\n", "app.yaml": "db:\n  password: " + c.open("yaml") + "\n",
			"app.xml": "<password>" + c.open("xml") + "</password>", "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(strings.Repeat("k", 60) + c.open("key in a configmap"))})),
			"broken.json": `{"password": ` + c.open("broken json"),
		}, "binaryData": object{"env": b64("DB_PASSWORD=" + c.open("binaryData"))}},
		{"apiVersion": "shop.example/v1", "kind": "Database", "metadata": meta("db", nil), "spec": object{"password": c.open("custom resource"), "url": "https://shop:" + c.open("url in a custom resource") + "@db.example/", "list": []any{object{"name": "token", "value": c.open("name and value")}}}},
		{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "metadata": object{"name": "encryption"}, "resources": []any{object{"resources": []any{"secrets"}, "providers": []any{object{"aescbc": object{"keys": []any{object{"name": "k", "secret": b64(c.open("encryption key") + "123456789012")}}}}}}}},
		{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": object{"name": "fast"}, "provisioner": "csi.example", "parameters": object{"adminPassword": c.open("storage class")}},
		{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("web", object{"annotations": object{"nginx.ingress.kubernetes.io/configuration-snippet": "proxy_set_header Authorization \"Basic " + b64("shop:"+c.open("snippet")) + "\";"}}), "spec": object{"rules": []any{object{"host": "shop.example", "http": object{"paths": []any{object{"path": "/admin?token=" + c.open("ingress path"), "pathType": "Prefix", "backend": object{"service": object{"name": "web", "port": object{"number": 80}}}}}}}}}},
		{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta("web", nil), "spec": object{"rules": []any{object{"filters": []any{object{"type": "RequestHeaderModifier", "requestHeaderModifier": object{"set": []any{object{"name": "Authorization", "value": "Bearer " + c.open("route header") + "0123456789"}}}}}}}}},
	}
	container := object{
		"name": "app", "image": "registry.shop.example/web",
		"env":             []any{object{"name": "DB_PASSWORD", "value": c.open("env")}, object{"name": "DB_URL", "value": "amqp://shop:" + c.open("url in env") + "@mq/"}, object{"name": "NODE_TLS_REJECT_UNAUTHORIZED", "value": "0"}},
		"command":         []any{"sh", "-c", "curl -k -u shop:" + c.open("command") + " https://x | sh"},
		"args":            []any{"--password", c.open("args"), "--token=" + c.open("flag")},
		"livenessProbe":   object{"httpGet": object{"path": "/?api_key=" + c.open("probe path"), "port": 80, "httpHeaders": []any{object{"name": "X-Api-Token", "value": c.open("probe header")}}}},
		"lifecycle":       object{"postStart": object{"exec": object{"command": []any{"login", "--password=" + c.open("lifecycle")}}}},
		"securityContext": object{"privileged": true},
	}
	pod := object{"hostNetwork": true, "containers": []any{container}, "volumes": []any{object{"name": "v", "flexVolume": object{"driver": "x/y", "options": object{"password": c.open("flexVolume")}}}, object{"name": "w", "csi": object{"driver": "x", "volumeAttributes": object{"password": c.open("csi")}}}}}
	out = append(out,
		object{"apiVersion": "v1", "kind": "Pod", "metadata": meta("naked", nil), "spec": pod},
		object{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web", object{"annotations": object{"kubectl.kubernetes.io/last-applied-configuration": text(object{"env": []any{object{"name": "OLD_PASSWORD", "value": c.open("last-applied of a deployment")}}})}}), "spec": object{"selector": object{}, "template": object{"metadata": object{"annotations": object{"vault-token": c.open("template annotation")}}, "spec": pod}}},
		object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "kube-apiserver-a", "namespace": "kube-system", "uid": "u"}, "spec": object{"containers": []any{object{"name": "kube-apiserver", "image": "registry.k8s.io/kube-apiserver:v1.30.0", "command": []any{
			"kube-apiserver", "--etcd-servers=http://root:" + c.open("etcd-servers") + "@etcd:2379", "--insecure-bind-address=x --token=" + c.open("insecure flag"), "--basic-auth-file=/etc/" + "basic",
		}}}}},
		object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "etcd-a", "namespace": "kube-system", "uid": "u2"}, "spec": object{"containers": []any{object{"name": "etcd", "image": "registry.k8s.io/etcd:3.5.0", "command": []any{"etcd"}, "env": []any{
			object{"name": "ETCD_LISTEN_CLIENT_URLS", "value": "http://root:" + c.open("etcd variable") + "@0.0.0.0:2379"}, object{"name": "ETCDCTL_USER", "value": "root:" + c.open("etcd user")},
		}}}}},
	)
	return out
}

// No value of a secret comes out of a scan: in no format, no file that it writes, no
// line on standard error, from manifests or from a cluster. Where an object that is
// no Secret holds one, the file of --save does, and only its user may read that.
func TestNothingSecretComesOut(t *testing.T) {
	t.Parallel()
	c := &canaries{all: map[string]string{}, kept: map[string]bool{}}
	objects := c.plant(t)
	var manifests bytes.Buffer
	enc := json.NewEncoder(&manifests)
	for _, o := range objects {
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "all.json")
	if err := os.WriteFile(file, manifests.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	// What cannot be read must not be repeated either.
	for name, text := range map[string]string{
		"cut.json":   `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"password":"` + c.value("cut file"),
		"wrong.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\nstringData:\n  password: " + c.value("wrong YAML") + "\n bad: [\n",
		"type.yaml":  "apiVersion: v1\nkind: Secret\nmetadata: " + c.value("metadata is text") + "\n",
		"kind.yaml":  "apiVersion: v1\nkind: [" + c.value("kind is a list") + "]\n",
		"twice.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: c}\nstringData:\n  p: " + c.value("first") + "\n  p: " + c.value("second") + "\n",
		"tag.yaml":   "apiVersion: v1\nkind: Secret\nmetadata: {name: d}\ndata: {p: !!int " + c.value("tag") + "}\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, kubeconfig := fakeCluster(t, served(t, objects))
	look := func(what, text string, saved bool) {
		if text == "" {
			t.Errorf("%s: nothing is there", what)
		}
		if out := c.leaks(text, saved); len(out) > 0 {
			t.Errorf("%s shows the values of: %s", what, strings.Join(out, ", "))
		}
	}
	runs := 0
	for source, args := range map[string][]string{"files": {folder}, "cluster": {"--kubeconfig", kubeconfig}} {
		for _, format := range output.Formats() {
			saved, base := filepath.Join(t.TempDir(), "saved"), filepath.Join(t.TempDir(), "baseline")
			code, stdout, stderr := runScan(t, append([]string{"-o", format, "--save", saved, "--write-baseline", base}, args...)...)
			if code != 1 {
				t.Fatalf("%s as %s: code %d, %s", source, format, code, stderr)
			}
			look(source+" as "+format, stdout, false)
			look(source+": standard error", stderr+" ", false)
			look(source+": baseline", read(t, base), false)
			look(source+": saved file", read(t, saved), true)
			if n := len(c.leaks(read(t, saved), false)); n < len(c.kept)-2 {
				t.Errorf("%s: only %d of %d values that are in no Secret are in the saved file: is it looked at rightly?", source, n, len(c.kept))
			}
			if info, err := os.Stat(saved); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the saved file has the mode %v, %v", info.Mode(), err)
			}
			runs++
			if format == "json" {
				checkFound(t, source, stdout)
				_, again, stderr := runScan(t, "-o", "json", saved)
				look(source+": saved file, judged", again+stderr, false)
			}
		}
	}
	// A patch is made of lines of the user's own file, whatever they hold.
	_, _, stderr := runScan(t, "--fix=diff", file)
	look("--fix=diff: standard error", stderr+" ", false)
	for _, args := range [][]string{{"--framework", "cis-2.0.1", file}, {"--control", "no-such-control", file}, {filepath.Join(folder, "cut.json")}, {filepath.Join(folder, "kind.yaml")}} {
		_, stdout, stderr := runScan(t, args...)
		look(fmt.Sprint(args), stdout+stderr, false)
		runs++
	}
	if runs != 2*len(output.Formats())+4 || len(c.all) < 50 {
		t.Errorf("%d runs with %d values", runs, len(c.all))
	}
}

// checkFound: the canaries in places that are looked at are told of, by the names of
// their places.
func checkFound(t *testing.T, source, text string) {
	t.Helper()
	var doc output.Document
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, f := range doc.Findings {
		if f.Verdict.String() == "fail" {
			found[f.Control]++
		}
	}
	for _, control := range []string{"credential-in-configmap", "credential-in-environment", "credential-in-command", "credential-in-annotation", "credential-in-object", "secret-last-applied", "apiserver-etcd-servers-plain", "etcd-listen-client-plain"} {
		if found[control] == 0 {
			t.Errorf("%s: %s found nothing", source, control)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// served gives the answers of an API server that holds objects.
func served(t *testing.T, objects []object) map[string]string {
	t.Helper()
	answers := map[string]string{"/version": `{"gitVersion":"v1.34.1"}`, "/api": `{"versions":["v1"]}`}
	lists, groups := map[string][]string{}, map[string]map[string]bool{}
	for _, o := range objects {
		version, kind := o["apiVersion"].(string), o["kind"].(string)
		path := "/apis/" + version
		if version == "v1" {
			path = "/api/v1"
		}
		if groups[path] == nil {
			groups[path] = map[string]bool{}
		}
		groups[path][kind] = o["metadata"].(object)["namespace"] != nil
		name := path + "/" + strings.ToLower(kind) + "s"
		item, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		lists[name] = append(lists[name], string(item))
	}
	for name, items := range lists {
		answers[name] = `{"kind":"List","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
	}
	var all []string
	for path, kinds := range groups {
		gv := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
		var resources []string
		for kind, namespaced := range kinds {
			resources = append(resources, fmt.Sprintf(`{"name":%q,"kind":%q,"namespaced":%v,"verbs":["list"]}`, strings.ToLower(kind)+"s", kind, namespaced))
		}
		answers[path] = fmt.Sprintf(`{"groupVersion":%q,"resources":[%s]}`, gv, strings.Join(resources, ","))
		if group, version, ok := strings.Cut(gv, "/"); ok {
			all = append(all, fmt.Sprintf(`{"name":%q,"versions":[{"version":%q}]}`, group, version))
		}
	}
	answers["/apis"] = `{"groups":[` + strings.Join(all, ",") + `]}`
	return answers
}

// The errors about a kubeconfig and a cluster have no password.
func TestKubeconfigErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	const canary = "Cnry7hunter2X"
	ran := 0
	for _, c := range []struct{ cluster, user string }{
		{"cluster: {server: 'https://shop:" + canary + "@127.0.0.1:1'}", "{}"},
		{"cluster: {server: 'https://shop:" + canary + "@127.0.0.1:x'}", "{}"},
		{"cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://shop:" + canary + "@127.0.0.1:1'}", "{}"},
		{"cluster: {server: 'https://127.0.0.1:1', proxy-url: 'ftp://shop:" + canary + "@127.0.0.1:1'}", "{}"},
		{"cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://shop:" + canary + "@127.0.0.1:x'}", "{}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{token: " + canary + "}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{username: a, password: " + canary + ", token: " + canary + "}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{token: [" + canary + "]}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{client-key-data: " + canary + "}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", canary},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{client-certificate-data: " + b64(canary) + ", client-key-data: " + b64(canary) + "}"},
		{"cluster: {server: 'https://127.0.0.1:1'}", "{token: " + canary + "\n"},
	} {
		for _, args := range [][]string{{}, {"--context", "c"}} {
			ran++
			t.Run(fmt.Sprint(ran), func(t *testing.T) {
				t.Parallel() // most of them wait to try again
				code, stdout, stderr := runScan(t, append([]string{"--kubeconfig", writeKubeconfig(t, c.cluster, c.user)}, args...)...)
				if code != 2 || stdout != "" || strings.Contains(stderr, canary) || strings.Contains(stderr, b64(canary)[:12]) {
					t.Errorf("%v %v: code %d, %s%s", c, args, code, stdout, stderr)
				}
			})
		}
	}
	if ran != 24 {
		t.Errorf("ran %d", ran)
	}
}
