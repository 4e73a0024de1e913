package leak

import (
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark"
)

func benign(tb testing.TB) []txtar.File {
	tb.Helper()
	a, err := txtar.ParseFile("testdata/benign.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	if len(a.Files) < 50 {
		tb.Fatalf("only %d harmless files", len(a.Files))
	}
	return a.Files
}

// Ordinary configuration is not flagged: as a value, in an annotation, or in base64.
func TestBenign(t *testing.T) {
	t.Parallel()
	for _, file := range benign(t) {
		text := string(file.Data)
		s := subject(t, map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a", "annotations": map[string]any{"shop.example/" + file.Name: text}},
			"data":       map[string]any{file.Name: text, "one-line-" + file.Name: strings.ReplaceAll(text, "\n", " ")},
			"binaryData": map[string]any{file.Name: base64.StdEncoding.EncodeToString(file.Data)},
		})
		results, _ := judge(t, s)
		for _, r := range results {
			t.Errorf("%s: %s", file.Name, r.Message)
		}
	}
}

// Each place is looked at, once, and says which.
func TestPlaces(t *testing.T) {
	t.Parallel()
	key := withCRC("ghp_", noise30)
	container := func(rest map[string]any) map[string]any {
		c := map[string]any{"name": "app", "image": "shop.example/web"}
		maps.Copy(c, rest)
		return c
	}
	pod := func(c map[string]any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"containers": []any{c}, "initContainers": []any{container(nil)}}}
	}
	tests := []struct {
		name, control, field, container string
		object                          map[string]any
	}{
		{"configmap", "credential-in-configmap", `data["app.conf"]`, "", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"app.conf": "\n\nx: " + key}}},
		{"binary", "credential-in-configmap", "binaryData.key", "", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "binaryData": map[string]any{"key": b64("\x00\x01" + key)}}},
		{"key store", "credential-in-configmap", "binaryData.store", "", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "binaryData": map[string]any{"store": b64("\xfe\xed\xfe\xed\x00\x00")}}},
		{"environment", "credential-in-environment", "spec.containers[0].env[1].value", "app", pod(container(map[string]any{"env": []any{map[string]any{"name": "A", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "PASSWORD", "key": "password"}}}, map[string]any{"name": "B", "value": key}}}))},
		{"command", "credential-in-command", "spec.containers[0].args[1]", "app", pod(container(map[string]any{"args": []any{"--password", "Tr0ub4dor3"}}))},
		{"flag in the command", "credential-in-command", "spec.containers[0].args[0]", "app", pod(container(map[string]any{"command": []any{"app", "--password"}, "args": []any{"Tr0ub4dor3"}}))},
		{"curl", "credential-in-command", "spec.containers[0].command[2]", "app", pod(container(map[string]any{"command": []any{"/usr/bin/curl", "-u", "shop:tr0ub4dor"}}))},
		{"mysql", "credential-in-command", "spec.containers[0].args[0]", "app", pod(container(map[string]any{"command": []any{"mysqladmin"}, "args": []any{"-ptr0ub4dor"}}))},
		{"annotation", "credential-in-annotation", `metadata.annotations["shop.example/token"]`, "", map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "a", "annotations": map[string]any{"shop.example/token": key}}}},
		{"template annotation", "credential-in-annotation", `spec.template.metadata.annotations["shop.example/token"]`, "", map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"shop.example/token": key}}, "spec": map[string]any{"containers": []any{container(nil)}}}}}},
		{"custom resource", "credential-in-object", "spec.db.password", "", map[string]any{"apiVersion": "shop.example/v1", "kind": "Database", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"db": map[string]any{"password": "Tr0ub4dor&3"}}}},
		{"header", "credential-in-object", "spec.containers[0].livenessProbe.httpGet.httpHeaders[0].value", "", pod(container(map[string]any{"livenessProbe": map[string]any{"httpGet": map[string]any{"path": "/", "port": 80, "httpHeaders": []any{map[string]any{"name": "Authorization", "value": "Basic " + b64("shop:tr0ub4dor")}}}}}))},
		{"helm values", "credential-in-object", "spec.source.helm.values", "", map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"source": map[string]any{"helm": map[string]any{"values": "auth:\n  password: Tr0ub4dor3\n"}}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results, by := judge(t, subject(t, tt.object))
			if len(results) != 1 || by[tt.control] != 1 || results[0].Field != tt.field || results[0].Container != tt.container {
				t.Errorf("want one result of %s at %s, got %v %+v", tt.control, tt.field, by, results)
			}
			if len(results) == 1 && tt.name == "configmap" && !strings.Contains(results[0].Message, "line 3") {
				t.Errorf("the line is missing: %s", results[0].Message)
			}
		})
	}
}

// Secrets are where credentials belong, in a cluster and not in a file.
func TestSecrets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, uid, values string
		data              map[string]any
		want              int
	}{
		{"live", "0d1f", "data", map[string]any{"password": b64("Tr0ub4dor&3"), "k": b64(withCRC("ghp_", noise30))}, 0},
		{"file", "", "data", map[string]any{"password": b64("Tr0ub4dor&3")}, 1},
		{"text in a file", "", "stringData", map[string]any{"password": "Tr0ub4dor&3"}, 1},
		{"empty", "", "data", map[string]any{"password": ""}, 0},
		{"template", "", "stringData", map[string]any{"password": "${DB_PASSWORD}", "b": "<path:secret/data/shop#b>"}, 0},
		{"sops", "", "data", map[string]any{"password": "ENC[AES256_GCM,data:tQ3v,iv:mK2p,tag:YcHd,type:str]"}, 0},
		{"certificate", "", "data", map[string]any{"ca.crt": b64("-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n")}, 0},
		{"certificate and key", "", "stringData", map[string]any{"tls.pem": "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n" + pemKey("PRIVATE KEY")}, 1},
		{"not base64", "", "data", map[string]any{"password": "~not~base64~"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			metadata := map[string]any{"name": "a"}
			if tt.uid != "" {
				metadata["uid"] = tt.uid
			}
			results, by := judge(t, subject(t, map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, tt.values: tt.data}))
			fails := 0
			for _, r := range results {
				if r.Verdict == bulwark.VerdictFail {
					fails++
				}
				if strings.Contains(r.Message, "Tr0ub") {
					t.Errorf("shown: %s", r.Message)
				}
			}
			if fails != tt.want {
				t.Errorf("want %d, got %v %+v", tt.want, by, results)
			}
		})
	}
}

// What cannot be looked at is not said to be clean.
func TestUnseen(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range 200 {
		deep = map[string]any{"a": []any{deep}}
	}
	for name, object := range map[string]map[string]any{
		"no base64": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "binaryData": map[string]any{"a": "~"}},
		"deep":      {"apiVersion": "shop.example/v1", "kind": "Thing", "metadata": map[string]any{"name": "a"}, "spec": deep},
	} {
		results, _ := judge(t, subject(t, object))
		if len(results) != 1 || results[0].Verdict != bulwark.VerdictUnknown || results[0].Reason == "" {
			t.Errorf("%s: %+v", name, results)
		}
	}
}

// What is as deep as is looked is found, and what is deeper is unknown.
func TestDeepest(t *testing.T) {
	t.Parallel()
	for n := deepest - 2; n < deepest+5; n++ {
		v := any("Tr0ub4dor&3")
		for range n {
			v = map[string]any{"password": v}
		}
		results, _ := judge(t, subject(t, map[string]any{"apiVersion": "shop.example/v1", "kind": "Thing", "metadata": map[string]any{"name": "a"}, "spec": v}))
		want := bulwark.VerdictFail
		if n > deepest+1 {
			want = bulwark.VerdictUnknown
		}
		if len(results) != 1 || results[0].Verdict != want {
			t.Errorf("%d deep: %+v, want %s", n, results, want)
		}
	}
}

// What kubectl keeps of an object is told of where the object itself has it no more.
func TestLastApplied(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		copied string
		want   int
	}{
		"moved to a secret": {`{"spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"Sesam3-0ffen"}]}]}}`, 1},
		"still there":       {`{"spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"Tr0ub4dor3"}]}]}}`, 0},
		"nothing":           {`{"spec":{"containers":[{"env":[{"name":"MODE","value":"fast"}]}]}}`, 0},
	} {
		object := map[string]any{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": map[string]any{"name": "a", "annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": tt.copied}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "env": []any{map[string]any{"name": "DB_PASSWORD", "value": "Tr0ub4dor3"}}}}},
		}
		_, by := judge(t, subject(t, object))
		if by["credential-in-annotation"] != tt.want || by["credential-in-environment"] != 1 {
			t.Errorf("%s: %v", name, by)
		}
	}
}

func TestControls(t *testing.T) {
	t.Parallel()
	for _, c := range Controls() {
		m := c.Meta()
		if m.ID == "" || m.Title == "" || m.Severity == 0 || m.Category != "secrets" || m.Why == "" || m.Remediation == "" || len(m.References) == 0 {
			t.Errorf("%s is not complete: %+v", m.ID, m)
		}
	}
}

// hostile texts are made so that each place of them begins something. The work they
// make must grow as their length does.
var hostile = map[string]func(n int) string{
	"begin":  func(n int) string { return strings.Repeat("-----BEGIN PRIVATE KEY-----", n/27) },
	"base64": func(n int) string { return strings.Repeat("LS0tLS1CRUdJTi/", n/15) },
	"one run": func(n int) string {
		return "LS0tLS1CRUdJTi" + strings.Repeat("A", n)
	},
	"jwt":       func(n int) string { return strings.Repeat("eyJ-", n/4) },
	"jwt dots":  func(n int) string { return strings.Repeat("eyJhIjoxfQ.", n/11) },
	"url":       func(n int) string { return strings.Repeat("a://", n/4) },
	"url users": func(n int) string { return strings.Repeat("a://b:c", n/7) },
	"pairs":     func(n int) string { return strings.Repeat("pwd=", n/4) },
	"colons":    func(n int) string { return strings.Repeat("token:", n/6) },
	"quotes":    func(n int) string { return strings.Repeat(`password="`, n/10) },
	"escapes":   func(n int) string { return strings.Repeat(`\"password\":\"`, n/14) },
	"aws":       func(n int) string { return strings.Repeat("AKIAQ3XZ7MKP2WTR5YLN ", n/21) },
	"prefixes":  func(n int) string { return strings.Repeat("glpat-xoxb-1-", n/13) },
	"openai":    func(n int) string { return strings.Repeat("sk-T3BlbkFJ", n/11) },
	"auth":      func(n int) string { return strings.Repeat(`"auth": "`, n/9) },
	"newlines":  func(n int) string { return strings.Repeat("\n", n) },
	"bytes":     func(n int) string { return strings.Repeat("\xff\xfe=:", n/4) },
	// A header that is one, with what makes none of it only behind: parts without end,
	// the claims of all documents.
	"jwt parts":     func(n int) string { return strings.Repeat("eyJhbGciOiJ4In0.A.", n/18) },
	"jwt documents": func(n int) string { return strings.Repeat("eyJhbGciOiJ4In0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.", n/45) },
	"jwt in a run":  func(n int) string { return strings.Repeat("eyJhbGciOiJ4In0-", n/16) },
	"putty":         func(n int) string { return strings.Repeat("PuTTY-User-Key-File-", n/20) },
	"dsn":           func(n int) string { return strings.Repeat("a@tcp(", n/6) },
	"oracle":        func(n int) string { return strings.Repeat("-jdbc:oracle:", n/13) },
	"machine":       func(n int) string { return strings.Repeat("machine ", n/8) },
	"curl":          func(n int) string { return strings.Repeat("curl ", n/5) },
	"mysql":         func(n int) string { return strings.Repeat("mysql -", n/7) },
	"signature":     func(n int) string { return strings.Repeat("&sig=", n/5) },
	"npm":           func(n int) string { return strings.Repeat("_auth=", n/6) },
	"elements":      func(n int) string { return strings.Repeat("<password>", n/10) },
	"half elements": func(n int) string { return strings.Repeat("<password ", n/10) },
	"labels":        func(n int) string { return strings.Repeat(`name=value=`, n/11) },
	"flags":         func(n int) string { return strings.Repeat("--password ", n/11) },
	"long prefix":   func(n int) string { return strings.Repeat("-ops_eyJ", n/8) },
	"harmless ids":  func(n int) string { return strings.Repeat("AKIAQ3XZ7MKP2WTR5YLN\n", n/21) },
}

// TestHostile counts how many bytes are looked at by what judges the beginnings of
// credentials: for ten times the text it is ten times as many, and for each byte of it
// a bounded number.
func TestHostile(t *testing.T) {
	t.Parallel()
	const small, large, most = 256 << 10, 10 * 256 << 10, 256
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := map[int]int{}
			for _, n := range []int{small, large} {
				s := &source{text: text(n)}
				if got := searchIn(s, "x", true); len(got) > 2*maxHits+maxPairs {
					t.Errorf("%d credentials are told of", len(got))
				}
				work[n] = s.looked
			}
			if work[large] > 11*work[small]+small || work[large] > most*large {
				t.Errorf("%d bytes looked at in %d, %d in %d, that is %d for each", work[small], small, work[large], large, work[large]/large)
			}
			t.Logf("%.1f bytes looked at for each", float64(work[large])/large)
		})
	}
	if len(hostile) < 30 {
		t.Errorf("only %d texts", len(hostile))
	}
}

func FuzzSearch(f *testing.F) {
	for _, tt := range found {
		f.Add(tt.key, tt.text)
	}
	for _, tt := range harmless {
		f.Add(tt.key, tt.text)
	}
	for _, text := range hostile {
		f.Add("x", text(200))
	}
	f.Fuzz(func(t *testing.T, key, text string) {
		for _, h := range search(key, text) {
			if h.kind == "" || h.severity == 0 || h.at > len(text) || h.end < h.at && h.at >= 0 || h.length <= 0 {
				t.Fatalf("%+v", h)
			}
			if h.at >= 0 {
				line(text, h.at)
			}
		}
	})
}

// BenchmarkObjects judges a mix of objects as of a cluster.
func BenchmarkObjects(b *testing.B) {
	env := []any{}
	for i := range 12 {
		env = append(env, map[string]any{"name": fmt.Sprintf("SETTING_%d", i), "value": fmt.Sprintf("http://service-%d.shop.svc:8080/path", i)})
	}
	deployment := subject(b, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a", "annotations": map[string]any{"deployment.kubernetes.io/revision": "3"}}, "spec": map[string]any{"template": map[string]any{"metadata": map[string]any{}, "spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": "shop.example/web:1.4.2", "args": []any{"--listen=:8080", "--log-level=info"}, "env": env}}}}}})
	files := benign(b)
	config := subject(b, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"a": string(files[0].Data), "b": string(files[2].Data)}})
	controls := Controls()
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range controls {
			if c.Applies(deployment) {
				c.Judge(deployment)
			}
			if c.Applies(config) {
				c.Judge(config)
			}
		}
	}
}

// BenchmarkBytes reads a large value.
func BenchmarkBytes(b *testing.B) {
	var all strings.Builder
	for _, f := range benign(b) {
		all.Write(f.Data)
	}
	text := strings.Repeat(all.String(), 40)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		search("x", text)
	}
}
