package redact

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// Whatever stands beside a secret, it goes; and what was canonical stays so.
func FuzzRedact(f *testing.F) {
	const mark = "Plant9QxZ7rK"
	for i, p := range append(plants(), leaks()...) {
		f.Add([]byte(p.request), p.uri, p.extra)
		f.Add([]byte(p.response), "command="+p.secret(i), p.message)
	}
	f.Add([]byte(`{"kind":"Secret","kind":"Status"}`), "a=%", `{"data":`)
	f.Add([]byte(`{"items":[{"data":{"a":"b"}}],"op":"x","path":"/data","value":1}`), "&&&=&command", "-----BEGIN PRIVATE KEY")
	f.Add([]byte(`["://","@",":@","a://:@","'","password='"]`), "cmd=-", "password: |\n  \n")
	f.Fuzz(func(t *testing.T, body []byte, query, text string) {
		r := redactor(t)
		beside, err := audit.CanonicalJSON(body)
		if err != nil {
			beside = quoted(text)
		}
		if !bytes.HasPrefix(beside, []byte("{")) && !bytes.HasPrefix(beside, []byte("[")) {
			beside = []byte(`{"a":` + string(beside) + `}`)
		}
		planted := map[string]*audit.Event{}
		plant := func(name, resource, body string) {
			e := about(resource, "patch")
			canonical, err := audit.CanonicalJSON([]byte(body))
			if err != nil {
				return // nested too deep
			}
			e.RequestObject = canonical
			e.RequestURI = "/api/v1/namespaces/a/pods/p/exec?" + strings.ToValidUTF8(query, "") + "&command=--token%3D" + mark
			e.Annotations = map[string]string{"x": strings.ToValidUTF8(text, "")}
			planted[name] = e
		}
		plant("data", "secrets", `{"a":`+string(beside)+`,"data":{"a":`+string(beside)+`,"k":"`+mark+`"},"z":1}`)
		plant("patch", "secrets", `[`+string(beside)+`,{"op":"add","path":"/data/k","value":"`+mark+`"}]`)
		plant("list", "secrets", `{"items":[`+string(beside)+`,{"stringData":{"k":"`+mark+`"}}]}`)
		plant("applied", "secrets", `{"metadata":{"a":`+string(beside)+`,"annotations":{"`+lastApplied+`":`+string(quoted(text+mark))+`}}}`)
		plant("env", "pods", `{"a":`+string(beside)+`,"env":[`+string(beside)+`,{"name":"DB_PASSWORD","value":"`+mark+`"}]}`)
		plant("kind", "pods", `{"a":`+string(beside)+`,"b":{"kind":"Secret","data":{"k":"`+mark+`"}}}`)
		plant("args", "pods", `{"a":`+string(beside)+`,"args":[`+string(quoted(text))+`,"--password=`+mark+`"]}`)
		plant("config", "configmaps", `{"a":`+string(beside)+`,"data":{"b":`+string(beside)+`,"API_KEY":"`+mark+`"}}`)
		for name, e := range planted {
			openings := r.Redact(e)
			out := audit.AppendCanonical(nil, e)
			if bytes.Contains(out, []byte(mark)) {
				t.Fatalf("%s survived:\n%s", name, out)
			}
			again, err := audit.ParseCanonical(out)
			if err != nil || !bytes.Equal(audit.AppendCanonical(nil, again), out) {
				t.Fatalf("%s is not canonical: %v\n%s", name, err, out)
			}
			opened(t, e, openings)
		}
		raw := about("secrets", "patch") // as it came, canonical or not
		raw.RequestObject = json.RawMessage(body)
		r.Redact(raw)
		if len(raw.RequestObject) > 4 && len(raw.Redactions) > 0 {
			if canonical, err := audit.CanonicalJSON(raw.RequestObject); err != nil || !bytes.Equal(canonical, raw.RequestObject) {
				t.Fatalf("not canonical: %v: %s", err, raw.RequestObject)
			}
		}
	})
}

func Benchmark(b *testing.B) {
	r := redactor(b)
	metadata := &audit.Event{
		Kind: audit.KindAPI, Level: "Metadata", Verb: "list", UserAgent: "kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/0123456/system:serviceaccount:kube-system:x",
		RequestURI:  "/apis/apps/v1/namespaces/shop/deployments?allowWatchBookmarks=true&resourceVersion=1234567&timeout=7m38s&timeoutSeconds=458&watch=true",
		Object:      audit.ObjectRef{Resource: "deployments", APIGroup: "apps", Namespace: "shop"},
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "x" to ServiceAccount "x/kube-system"`},
	}
	b.Run("metadata", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Redact(metadata)
		}
	})
	pod := ordinary()["pod"].RequestObject
	pod = canonicalBody(b, string(pod))
	b.Run("pod", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(pod)))
		for b.Loop() {
			e := audit.Event{RequestObject: pod, Verb: "create", Object: audit.ObjectRef{Resource: "pods"}}
			r.Redact(&e)
		}
	})
	secret := canonicalBody(b, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"a":"MTIz","b":"NDU2","c":"Nzg5"},"type":"Opaque"}`)
	b.Run("secret", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(secret)))
		for b.Loop() {
			e := audit.Event{RequestObject: secret, Verb: "create", Object: audit.ObjectRef{Resource: "secrets"}}
			r.Redact(&e)
		}
	})
	exec := "/api/v1/namespaces/a/pods/p/exec?command=mysql&command=-uroot&command=-phunter2&container=c&stdin=true&stdout=true&tty=true"
	b.Run("exec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e := audit.Event{RequestURI: exec}
			r.Redact(&e)
		}
	})
}
