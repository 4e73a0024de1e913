package redact

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

func redactor(tb testing.TB) *Redactor {
	tb.Helper()
	r, err := New(rand.Reader, true)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// canonicalBody fails unless the text is JSON.
func canonicalBody(tb testing.TB, text string) json.RawMessage {
	tb.Helper()
	if text == "" {
		return nil
	}
	raw, err := audit.CanonicalJSON([]byte(text))
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return raw
}

// about makes an event for an object of core/v1, or group/resource.
func about(resource, verb string) *audit.Event {
	e := &audit.Event{Kind: audit.KindAPI, Source: "webhook", Verb: verb, Object: audit.ObjectRef{APIVersion: "v1"}}
	if group, name, ok := strings.Cut(resource, "/"); ok && strings.Contains(group, ".") || group == "apps" || group == "batch" {
		e.Object.APIGroup, resource = group, name
	}
	e.Object.Resource, e.Object.Subresource, _ = strings.Cut(resource, "/")
	return e
}

// plants are secrets in their places: %s is where the secret stands, and %b where its
// base64 does.
type plant struct {
	name, resource, verb       string
	request, response          string
	uri, agent, message, extra string // extra: an annotation key=value
	user, impersonated         string
	shape                      string // the secret, where its form matters
	path                       string // of the first redaction
}

const applied = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"x\":\"%s\"}}"}}}`

// shapes are made up: none of them is anybody's.
const (
	aJWT    = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbm9uZQ"
	aGitHub = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	aGitLab = "glpat-0123456789abcdefABCD"
	anAWS   = "AKIAABCDEFGHIJKLMNOP"
	aSlack  = "xoxb-123456789012-abcdefABCDEF"
	aVault  = "hvs.CAESIJ0123456789abcdefghijklmnopqrstuvwx"
	anNPM   = "npm_0123456789abcdefghijABCDEFGHIJ012345"
	aStripe = "sk_" + "live_0123456789abcdefABCDEF"
	aGoogle = "AIzaSyA0123456789abcdefghijABCDEFGHIJ01"
	aKey    = "-----BEGIN RSA PRIVATE KEY-----\\nMIIEowIBAAKCAQEA0123456789\\n-----END RSA PRIVATE KEY-----"
)

func plants() []plant {
	pod := func(spec string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"nginx:1",` + spec + `}]}}`
	}
	return []plant{
		{name: "secret data", resource: "secrets", verb: "create", request: `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"password":"%b"}}`, path: "requestObject.data.password"},
		{name: "secret stringData", resource: "secrets", verb: "create", request: `{"kind":"Secret","apiVersion":"v1","stringData":{"a.b":"%s"}}`, path: `requestObject.stringData.a\.b`},
		{name: "secret in the answer", resource: "secrets", verb: "get", response: `{"kind":"Secret","apiVersion":"v1","data":{"k":"%b"},"type":"Opaque"}`, path: "responseObject.data.k"},
		{name: "secret list", resource: "secrets", verb: "list", response: `{"kind":"SecretList","apiVersion":"v1","items":[{"metadata":{"name":"a"},"data":{"x":""}},{"metadata":{"name":"b"},"data":{"k":"%b"}}]}`, path: "responseObject.items[1].data.k"},
		{name: "list of kinds", resource: "widgets", verb: "list", response: `{"kind":"List","apiVersion":"v1","items":[{"kind":"Secret","apiVersion":"v1","data":{"k":"%b"}}]}`},
		{name: "strategic merge patch", resource: "secrets", verb: "patch", request: `{"data":{"$patch":"replace","k":"%b"},"$setElementOrder/x":[]}`, path: "requestObject.data.k"},
		{name: "merge patch", resource: "secrets", verb: "patch", request: `{"stringData":{"k":"%s"}}`},
		{name: "apply", resource: "secrets", verb: "patch", uri: "/api/v1/namespaces/a/secrets/s?fieldManager=kubectl&force=true", request: `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"k":"%b"}}`},
		{name: "JSON patch of a value", resource: "secrets", verb: "patch", request: `[{"op":"test","path":"/metadata/name","value":"s"},{"op":"replace","path":"/data/k","value":"%b"}]`, path: "requestObject[1].value"},
		{name: "JSON patch of all data", resource: "secrets", verb: "patch", request: `[{"op":"add","path":"/data","value":{"k":"%b"}}]`, path: "requestObject[0].value.k"},
		{name: "JSON patch of everything", resource: "secrets", verb: "patch", request: `[{"op":"replace","path":"","value":{"kind":"Secret","data":{"k":"%b"}}}]`},
		{name: "JSON patch of an odd path", resource: "secrets", verb: "patch", request: `[{"op":"add","path":"/dat~0a","value":"%s"}]`},
		{name: "JSON patch of last applied", resource: "secrets", verb: "patch", request: `[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"{\"stringData\":{\"a\":\"%s\"}}"}]`},
		{name: "last applied", resource: "secrets", verb: "update", request: applied, path: `requestObject.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration`},
		{name: "another tool's copy", resource: "secrets", verb: "update", request: `{"kind":"Secret","metadata":{"annotations":{"kapp.k14s.io/original":"{\"data\":{\"x\":\"%s\"}}"}}}`},
		{name: "last applied in a list of metadata", resource: "secrets", verb: "list", response: `{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["s"],"object":{"kind":"PartialObjectMetadata","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"x\":\"%s\"}}"}}}}]}`},
		{name: "a table of whole Secrets", resource: "secrets", verb: "list", response: `{"kind":"Table","rows":[{"object":{"kind":"Secret","data":{"x":"%b"}}}]}`},
		{name: "a misspelt field", resource: "secrets", verb: "patch", request: `{"datas":{"k":"%s"}}`},
		{name: "data that is a string", resource: "secrets", verb: "patch", request: `{"data":"%s"}`},
		{name: "data that is a number", resource: "secrets", verb: "patch", request: `{"data":{"k":[{"v":"%s"}]}}`},
		{name: "a body that is a string", resource: "secrets", verb: "patch", request: `"data: {k: %s}"`, path: "requestObject"},
		{name: "a kind that lies", resource: "secrets", verb: "patch", request: `{"kind":"Status","data":{"k":"%s"}}`},
		{name: "no object reference", resource: "", verb: "patch", uri: "/api/v1/namespaces/a/secrets/s", request: `{"data":{"k":"%b"}}`},
		{name: "a manifest within a custom resource", resource: "work.example.io/manifestworks", verb: "create", request: `{"kind":"ManifestWork","spec":{"workload":{"manifests":[{"apiVersion":"v1","kind":"Secret","metadata":{},"stringData":{"k":"%s"}}]}}}`},
		{name: "a manifest in YAML", resource: "configmaps", verb: "create", request: `{"kind":"ConfigMap","data":{"m.yaml":"apiVersion: v1\nkind: Secret\ndata:\n  x: %b\n"}}`, path: `requestObject.data.m\.yaml`},
		{name: "what a webhook changed", resource: "secrets", verb: "create", extra: `patch.webhook.admission.k8s.io/round_0_index_0={"configuration":"v","webhook":"v","patch":[{"op":"replace","path":"/data/k","value":"%b"}],"patchType":"JSONPatch"}`, path: "annotations.patch.webhook.admission.k8s.io/round_0_index_0"},
		{name: "a webhook's environment", resource: "pods", verb: "create", extra: `patch.webhook.admission.k8s.io/round_0_index_0={"patch":[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"DB_PASSWORD","value":"%s"}}]}`},
		{name: "token request", resource: "serviceaccounts/token", verb: "create", response: `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"%s","expirationTimestamp":"2026-01-01T00:00:00Z"}}`, path: "responseObject.status.token"},
		{name: "token review", resource: "authentication.k8s.io/tokenreviews", verb: "create", request: `{"kind":"TokenReview","spec":{"token":"%s","audiences":["a"]}}`, response: `{"kind":"TokenReview","spec":{"token":"%s"},"status":{"authenticated":true}}`, path: "requestObject.spec.token"},
		{name: "OAuth client", resource: "oauth.openshift.io/oauthclients", verb: "create", request: `{"kind":"OAuthClient","secret":"%s"}`},
		{name: "environment by name", resource: "pods", verb: "create", request: pod(`"env":[{"name":"A","value":"b"},{"name":"DB_PASSWORD","value":"%s"}]`), path: "requestObject.spec.containers[0].env[1].value"},
		{name: "environment by shape", resource: "pods", verb: "create", request: pod(`"env":[{"name":"GH","value":"x %s"}]`), shape: aGitHub},
		{name: "environment with a URL", resource: "apps/deployments", verb: "update", request: `{"kind":"Deployment","spec":{"template":{"spec":{"containers":[{"env":[{"name":"DATABASE","value":"postgres://app:%s@db:5432/app?sslmode=require"}]}]}}}}`},
		{name: "environment by index", resource: "apps/deployments", verb: "patch", request: `[{"op":"replace","path":"/spec/template/spec/containers/0/env/3/value","value":"%s"}]`},
		{name: "environment in a strategic patch", resource: "apps/deployments", verb: "patch", request: `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","env":[{"name":"API_KEY","value":"%s"}]}]}}}}`},
		{name: "last applied of a Deployment", resource: "apps/deployments", verb: "patch", request: `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"containers\":[{\"env\":[{\"name\":\"TOKEN\",\"value\":\"%s\"}]}]}}"}}}`},
		{name: "last applied that is cut", resource: "apps/deployments", verb: "patch", request: `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"env\":[{\"name\":\"X\",\"value\":\"%s"}}}`},
		{name: "arguments", resource: "pods", verb: "create", request: pod(`"args":["--user","a","--password","%s","--port=80"]`), path: "requestObject.spec.containers[0].args[3]"},
		{name: "arguments with =", resource: "pods", verb: "create", request: pod(`"args":["--db-password=%s"]`)},
		{name: "a shell's command", resource: "batch/jobs", verb: "create", request: pod(`"command":["sh","-c","set -e; mysqldump -h db -u root -p%s app > /x"]`)},
		{name: "a probe's header", resource: "pods", verb: "create", request: pod(`"livenessProbe":{"httpGet":{"httpHeaders":[{"name":"Authorization","value":"Bearer %s"}]}}`)},
		{name: "ConfigMap by name", resource: "configmaps", verb: "create", request: `{"kind":"ConfigMap","data":{"LOG":"debug","client_secret":"%s"}}`, path: "requestObject.data.client_secret"},
		{name: "ConfigMap in the answer", resource: "configmaps", verb: "list", response: `{"kind":"ConfigMapList","items":[{"data":{"app.properties":"a=b\ndb.password = %s\nc=d"}}]}`},
		{name: "ConfigMap with YAML", resource: "configmaps", verb: "update", request: `{"data":{"c.yaml":"smtp:\n  user: a\n  password: %s # ours\n"}}`},
		{name: "ConfigMap with a YAML block", resource: "configmaps", verb: "update", request: `{"data":{"c.yaml":"auth:\n  token: |-\n    %s\n  user: a\n"}}`},
		{name: "ConfigMap with JSON", resource: "configmaps", verb: "update", request: `{"data":{"c.json":"{\"db\":{\"password\":\"%s\"}}"}}`},
		{name: "ConfigMap with a key", resource: "configmaps", verb: "update", request: `{"data":{"x":"a\n%s\nb"}}`, shape: aKey},
		{name: "ConfigMap patch", resource: "configmaps", verb: "patch", request: `[{"op":"add","path":"/data/DB_PASSWORD","value":"%s"}]`},
		{name: "ConfigMap binary", resource: "configmaps", verb: "update", request: `{"binaryData":{"x":"%c"}}`},
		{name: "ConfigMap file", resource: "configmaps", verb: "update", request: `{"data":{"id_rsa":"%s"}}`},
		{name: "a field of a custom resource", resource: "db.example.io/databases", verb: "create", request: `{"kind":"Database","spec":{"adminPassword":"%s"}}`},
		{name: "values of a chart", resource: "helm.cattle.io/helmcharts", verb: "create", request: `{"kind":"HelmChart","spec":{"valuesContent":"a: b\nadminPassword: %s\n"}}`},
		{name: "an annotation", resource: "pods", verb: "create", request: `{"metadata":{"annotations":{"example.io/api-token":"%s"}}}`},
		{name: "a key twice encoded", resource: "pods", verb: "create", request: `{"spec":{"x":"%s"}}`, shape: base64.StdEncoding.EncodeToString([]byte("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB0123456789abcdefghijklmnopqrstuvwxyz\n-----END EC PRIVATE KEY-----\n"))},
		{name: "JWT", resource: "pods", verb: "create", request: `{"spec":{"x":"jwt: %s."}}`, shape: aJWT},
		{name: "AWS", resource: "pods", verb: "create", request: `{"spec":{"x":"%s"}}`, shape: anAWS},
		{name: "GitLab", resource: "pods", verb: "create", request: `{"spec":{"x":["%s"]}}`, shape: aGitLab},
		{name: "Slack", resource: "pods", verb: "create", request: `{"spec":{"x":"(%s)"}}`, shape: aSlack},
		{name: "Vault", resource: "pods", verb: "create", request: `{"spec":{"x":"%s"}}`, shape: aVault},
		{name: "npm", resource: "pods", verb: "create", request: `{"spec":{"x":"//r/:_a=%s"}}`, shape: anNPM},
		{name: "Stripe", resource: "pods", verb: "create", request: `{"spec":{"x":"%s"}}`, shape: aStripe},
		{name: "Google", resource: "pods", verb: "create", request: `{"spec":{"x":"k %s"}}`, shape: aGoogle},
		{name: "exec with a flag", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=app&command=--password&command=%u&stdin=true", path: "requestURI"},
		{name: "exec with =", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=app&command=--token%3D%u"},
		{name: "exec of mysql", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=mysql&command=-uroot&command=-p%u"},
		{name: "exec of a shell", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=sh&command=-c&command=PGPASSWORD%3D%u+psql+-U+app"},
		{name: "exec of curl", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=curl&command=-H&command=Authorization%3A+Bearer+%u&command=https%3A%2F%2Fx"},
		{name: "exec of curl with a user", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=curl&command=-u&command=me%3A%u&command=https%3A%2F%2Fx"},
		{name: "exec with a URL", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=git&command=clone&command=https%3A%2F%2Fme%3A%u%40git.example.com%2Fx"},
		{name: "exec of redis", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=redis-cli&command=-a&command=%u&command=KEYS&command=*"},
		{name: "exec with encoded names", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?c%6Fmmand=app&c%6Fmmand=--token%3D%u"},
		{name: "exec with a wrong escape", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=%zz&command=--token%3D%u"},
		{name: "exec by attach", resource: "pods/attach", verb: "create", uri: "/api/v1/namespaces/a/pods/p/attach?command=mongosh&command=-p&command=%u"},
		{name: "kubelet", resource: "nodes/proxy", verb: "create", uri: "/api/v1/nodes/n/proxy/run/ns/p/c?cmd=app+--password%3D%u"},
		{name: "bearer token in a query", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/x?access_token=%u&a=b"},
		{name: "signature in a query", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/x?a=b&X-Amz-Signature=%u"},
		{name: "token in a path", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/login/%u", shape: aJWT},
		{name: "token in a query by shape", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/login?q=%u", shape: aVault},
		{name: "client", resource: "pods", verb: "get", agent: "tool/1 (%s)", shape: aGitHub},
		{name: "message", resource: "pods", verb: "get", message: "login as %s failed", shape: aJWT},
		{name: "server command line", resource: "pods", verb: "create", request: pod(`"command":["/app","-dsn","app:%s@tcp(db:3306)/app"]`)},
		{name: "SQL", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=psql&command=-c&command=ALTER+USER+app+WITH+PASSWORD+%27%u%27"},
		{name: "literal", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=kubectl&command=create&command=secret&command=generic&command=x&command=--from-literal%3Dk%3D%u"},
		{name: "registry login", resource: "pods/exec", verb: "create", uri: "/api/v1/namespaces/a/pods/p/exec?command=docker&command=login&command=-u&command=me&command=-p&command=%u"},
	}
}

func (p plant) secret(i int) string {
	if p.shape != "" {
		return p.shape
	}
	return fmt.Sprintf("Plant%03dQ7xZr4", i)
}

func (p plant) event(tb testing.TB, secret string) *audit.Event {
	tb.Helper()
	line := strings.ReplaceAll(secret, `\n`, "\n")
	fill := strings.NewReplacer("%s", secret, "%b", base64.StdEncoding.EncodeToString([]byte(line)),
		"%c", base64.StdEncoding.EncodeToString([]byte("password: "+line)), "%u", url.QueryEscape(line),
		"%a", base64.StdEncoding.EncodeToString([]byte("me:"+line)), "%g", gzipped(`{"spec":{"env":[{"name":"DB_PASSWORD","value":"`+line+`"}]}}`),
		"%m", base64.StdEncoding.EncodeToString([]byte("apiVersion: v1\nkind: Secret\nstringData:\n  k: "+line+"\n")),
		"%k", base64.StdEncoding.EncodeToString([]byte("kind: Config\nusers:\n- name: a\n  user:\n    token: "+line+"\n"))).Replace
	e := about(p.resource, p.verb)
	e.RequestObject, e.ResponseObject = canonicalBody(tb, fill(p.request)), canonicalBody(tb, fill(p.response))
	e.RequestURI, e.UserAgent, e.Status.Message = fill(p.uri), fill(p.agent), fill(p.message)
	if p.user != "" {
		unmarshal(tb, fill(p.user), &e.User)
	}
	if p.impersonated != "" {
		e.Impersonated = new(audit.User)
		unmarshal(tb, fill(p.impersonated), e.Impersonated)
	}
	if key, value, ok := strings.Cut(fill(p.extra), "="); ok {
		e.Annotations = map[string]string{key: value, "authorization.k8s.io/decision": "allow"}
	}
	return e
}

func unmarshal(tb testing.TB, text string, into any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		tb.Fatal(err)
	}
}

// traces are the forms in which a secret may show.
func traces(secret string) []string {
	line := strings.ReplaceAll(secret, `\n`, "\n")
	inner := line
	if strings.HasPrefix(line, "-----BEGIN") {
		inner = "MIIEowIBAAKCAQEA0123456789"
	}
	encode := base64.StdEncoding.EncodeToString
	return []string{
		secret, inner, encode([]byte(line)), url.QueryEscape(inner),
		encode([]byte("password: " + line)), encode([]byte("me:" + line)), "H4sI", "a2luZDogQ29uZmln", "YXBpVmVyc2lvbjogdjEKa2luZDogU2VjcmV0",
	}
}

func TestPlants(t *testing.T) {
	t.Parallel()
	ran := 0
	for i, p := range append(plants(), leaks()...) {
		ran++
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			secret := p.secret(i)
			e, before := p.event(t, secret), p.event(t, secret)
			openings := redactor(t).Redact(e)
			text := string(audit.AppendCanonical(nil, e))
			for _, trace := range traces(secret) {
				if strings.Contains(text, trace) {
					t.Errorf("%q is still there:\n%s", trace, text)
				}
			}
			if len(e.Redactions) == 0 || !strings.Contains(text, "redacted") {
				t.Fatalf("nothing was redacted:\n%s", text)
			}
			if p.path != "" && e.Redactions[0].Path != p.path {
				t.Errorf("path %q, want %q", e.Redactions[0].Path, p.path)
			}
			again, err := audit.ParseCanonical([]byte(text))
			if err != nil || string(audit.AppendCanonical(nil, again)) != text {
				t.Errorf("not canonical: %v\n%s", err, text)
			}
			opened(t, e, openings)
			if p.uri != "" && strings.Count(e.RequestURI, "&") != strings.Count(before.RequestURI, "&") {
				t.Errorf("the address has lost words: %s", e.RequestURI)
			}
		})
	}
	if ran < 150 {
		t.Errorf("planted %d secrets", ran)
	}
}

// opened fails unless each redaction has the opening that it commits to.
func opened(tb testing.TB, e *audit.Event, openings []audit.Opening) {
	tb.Helper()
	if len(openings) != len(e.Redactions) {
		tb.Fatalf("%d openings of %d redactions", len(openings), len(e.Redactions))
	}
	salts := map[[32]byte]bool{}
	for i, o := range openings {
		sum := sha256.Sum256(append(o.Salt[:], o.Value...))
		if want := "sha256:" + hex.EncodeToString(sum[:]); e.Redactions[i].Commitment != want || e.Redactions[i].Path != o.Path {
			tb.Errorf("redaction %+v is not opened by %q", e.Redactions[i], o.Value)
		}
		if canonical, err := audit.CanonicalJSON(o.Value); err != nil || !bytes.Equal(canonical, o.Value) {
			tb.Errorf("the opening of %s is not canonical: %q", o.Path, o.Value)
		}
		if salts[o.Salt] {
			tb.Error("a salt was used twice")
		}
		salts[o.Salt] = true
	}
}

// What was there before can be put back with the openings.
func TestRestores(t *testing.T) {
	t.Parallel()
	e := about("secrets", "update")
	before := `{"data":{"a":"MQ==","b":"Mg=="},"kind":"Secret"}`
	e.RequestObject = json.RawMessage(before)
	openings := redactor(t).Redact(e)
	want := `{"data":{"a":"[redacted]","b":"[redacted]"},"kind":"Secret"}`
	if diff := cmp.Diff(want, string(e.RequestObject)); diff != "" {
		t.Fatal(diff)
	}
	text := string(e.RequestObject)
	for _, o := range openings {
		text = strings.Replace(text, marker, string(o.Value), 1)
	}
	if diff := cmp.Diff(before, text); diff != "" {
		t.Error(diff)
	}
}

// What cannot be read, or has too many secrets, goes as a whole.
func TestWhole(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	many.WriteString(`{"data":{`)
	for i := range maxRedactions + 1 {
		fmt.Fprintf(&many, `"k%06d":"v",`, i)
	}
	body := strings.TrimSuffix(many.String(), ",") + "}}"
	for name, c := range map[string]struct{ body, value string }{
		"cut":      {`{"data":{"a":"MQ`, `"{\"data\":{\"a\":\"MQ"`},
		"no text":  {"{\"data\":\xff", `"` + base64.StdEncoding.EncodeToString([]byte("{\"data\":\xff")) + `"`},
		"two":      {`{"data":{"a":"x"}}{}`, `"{\"data\":{\"a\":\"x\"}}{}"`},
		"deep":     {strings.Repeat("[", 400) + strings.Repeat("]", 400), ""},
		"many":     {body, body},
		"a number": {`12345678`, `12345678`},
	} {
		e := about("secrets", "patch")
		e.RequestObject = json.RawMessage(c.body)
		openings := redactor(t).Redact(e)
		if string(e.RequestObject) != marker || len(e.Redactions) != 1 || e.Redactions[0].Path != "requestObject" {
			t.Errorf("%s: %.100s, %v", name, e.RequestObject, e.Redactions)
			continue
		}
		if c.value != "" && string(openings[0].Value) != c.value {
			t.Errorf("%s: the opening is %.100s", name, openings[0].Value)
		}
	}
}

// Without values only salts are kept; without randomness nothing is committed to, and
// the secret goes all the same.
func TestWithout(t *testing.T) {
	t.Parallel()
	event := func() *audit.Event {
		e := about("secrets", "create")
		e.RequestObject = json.RawMessage(`{"data":{"a":"MQ=="}}`)
		return e
	}
	r, err := New(rand.Reader, false)
	if err != nil {
		t.Fatal(err)
	}
	e := event()
	if o := r.Redact(e); len(o) != 1 || o[0].Value != nil || o[0].Salt == [32]byte{} {
		t.Errorf("openings %v", o)
	}
	dry, err := New(failing{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Redactor{"zero": {}, "dry": dry} {
		e := event()
		if o := r.Redact(e); len(o) != 0 || len(e.Redactions) != 1 || e.Redactions[0].Commitment != "" || strings.Contains(string(e.RequestObject), "MQ==") {
			t.Errorf("%s: %v, %v, %s", name, o, e.Redactions, e.RequestObject)
		}
	}
	if _, err := New(nil, true); err == nil {
		t.Error("a redactor without randomness was made")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("dry") }

var _ io.Reader = failing{}

// An event's maps may be shared: they are not written to.
func TestLeavesSharedMaps(t *testing.T) {
	t.Parallel()
	shared := map[string]string{"example.io/token": "abcdefgh"}
	e := &audit.Event{Kind: audit.KindAPI, Annotations: shared}
	redactor(t).Redact(e)
	if shared["example.io/token"] != "abcdefgh" || e.Annotations["example.io/token"] != bulwark.Redacted {
		t.Errorf("%v, %v", shared, e.Annotations)
	}
}
