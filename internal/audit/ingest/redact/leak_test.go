package redact

import "encoding/base64"

// aBundle is a certificate with its key behind it, in base64 as bodies carry it.
var aBundle = base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nMIIDBTCCAe2gAwIBAgIIVx0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n-----END CERTIFICATE-----\n" +
	"-----BEGIN PRIVATE KEY-----\nMHcCAQEEIB0123456789abcdefghijklmnopqrstuvwxyz\n-----END PRIVATE KEY-----\n"))

// leaks are plants that an attack on the redaction found where nothing took them out.
func leaks() []plant {
	pod := func(spec string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"nginx:1",` + spec + `}]}}`
	}
	exec := func(query string) string { return "/api/v1/namespaces/a/pods/p/exec?" + query }
	return []plant{
		// Patches, also those that an API server refuses and logs all the same.
		{name: "JSON patch without an operation", resource: "secrets", verb: "patch", request: `[{"path":"/data/k","value":"%b"}]`},
		{name: "JSON patch with a misspelt value", resource: "secrets", verb: "patch", request: `[{"op":"add","path":"/data/k","valeu":"%b"}]`},
		{name: "JSON patch with a path that does not begin", resource: "secrets", verb: "patch", request: `[{"op":"add","path":"data/k","value":"%b"}]`},
		{name: "JSON patch that is a list of values", resource: "secrets", verb: "patch", request: `["%s"]`},
		{name: "JSON patch of metadata", resource: "secrets", verb: "patch", request: `[{"op":"replace","path":"/metadata","value":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"k\":\"%b\"}}"}}}]`},
		{name: "unknown directive", resource: "secrets", verb: "patch", request: `{"$data":{"k":"%s"}}`},
		{name: "JSON patch of one argument", resource: "apps/deployments", verb: "patch", request: `[{"op":"replace","path":"/spec/template/spec/containers/0/args/3","value":"%s"}]`},
		{name: "JSON patch of a number", resource: "apps/deployments", verb: "patch", request: `[{"op":"replace","path":"/spec/template/spec/containers/0/env/1","value":{"name":"DB_PIN_PASSWORD","value":"%s"}}]`},
		{name: "apply of a list", resource: "widgets", verb: "patch", request: `{"kind":"List","apiVersion":"v1","items":[{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"datas":{"k":"%s"}}]}`},
		{name: "managed fields that are none", resource: "widgets", verb: "create", request: `{"spec":{"managedFields":[{"password":"%s"}]}}`},
		// Manifests in texts.
		{name: "YAML with a quoted kind", resource: "configmaps", verb: "create", request: `{"kind":"ConfigMap","data":{"m.yaml":"apiVersion: v1\nkind: \"Secret\"\ndata:\n  x: %b\n"}}`},
		{name: "YAML with a wide kind", resource: "configmaps", verb: "create", request: `{"kind":"ConfigMap","data":{"m.yaml":"apiVersion: v1\nkind:   'Secret'\nstringData:\n  x: %s\n"}}`},
		{name: "YAML in flow style", resource: "widgets", verb: "create", request: `{"spec":{"manifest":"{apiVersion: v1, kind: Secret, data: {x: %b}}"}}`},
		{name: "JSON behind a separator", resource: "widgets", verb: "create", request: `{"spec":{"manifest":"---\n{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"x\":\"%b\"}}"}}`},
		{name: "a list of secrets in YAML", resource: "widgets", verb: "create", request: `{"spec":{"manifest":"kind: SecretList\nitems:\n- data:\n    x: %b\n"}}`},
		// Encodings.
		{name: "base64 of a manifest", resource: "widgets", verb: "create", request: `{"spec":{"payload":"%m"}}`},
		{name: "base64 of settings", resource: "pods", verb: "create", request: pod(`"env":[{"name":"CONFIG","value":"%c"}]`)},
		{name: "base64 of a kubeconfig", resource: "core.gardener.cloud/shoots/adminkubeconfig", verb: "create", response: `{"kind":"AdminKubeconfigRequest","status":{"kubeconfig":"%k"}}`},
		{name: "base64 of gzip", resource: "apps/deployments", verb: "update", request: `{"metadata":{"annotations":{"objectset.rio.cattle.io/applied":"%g"}}}`},
		{name: "base64 in a command", resource: "pods/exec", verb: "create", uri: exec("command=sh&command=-c&command=echo+%c+%7C+base64+-d")},
		{name: "a bundle in base64", resource: "widgets", verb: "create", request: `{"spec":{"pem":"%s"}}`, shape: aBundle},
		{name: "a docker login", resource: "configmaps", verb: "create", request: `{"data":{"config.json":"{\"auths\":{\"r.example.com\":{\"auth\":\"%a\"}}}"}}`},
		{name: "percent encoding in a text", resource: "pods", verb: "create", request: pod(`"env":[{"name":"CALLBACK","value":"https://x/cb?next=%2Fa%3Faccess%5Ftoken%3D%s"}]`)},
		{name: "percent encoding twice in a query", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/x?next=%252Flogin%253Faccess_token%253D%u"},
		{name: "JSON in JSON in a text", resource: "pods", verb: "create", request: pod(`"env":[{"name":"X","value":"body: {\\\"password\\\":\\\"a\\\\\\\"%s\\\"}"}]`)},
		{name: "a quote in a shell's quotes", resource: "pods/exec", verb: "create", uri: exec("command=sh&command=-c&command=PGPASSWORD%3D%27a%27%5C%27%27%u%27+psql")},
		// Names.
		{name: "a number behind the name", resource: "configmaps", verb: "create", request: `{"data":{"DB_PASSWORD_2":"%s"}}`},
		{name: "a stage behind the name", resource: "pods", verb: "create", request: pod(`"env":[{"name":"API_TOKEN_PROD","value":"%s"}]`)},
		{name: "an encoding behind the name", resource: "pods", verb: "create", request: pod(`"env":[{"name":"DB_PASSWORD_B64","value":"%s"}]`)},
		{name: "pwd in small letters", resource: "services/proxy", verb: "get", uri: "/api/v1/namespaces/a/services/s/proxy/x?user=a&pwd=%u"},
		{name: "the key of Rails", resource: "pods", verb: "create", request: pod(`"env":[{"name":"SECRET_KEY_BASE","value":"%s"}]`)},
		{name: "several passwords", resource: "configmaps", verb: "create", request: `{"data":{"API_KEYS":"%s"}}`},
		{name: "a pre-shared key", resource: "configmaps", verb: "create", request: `{"data":{"wg0.conf":"[Peer]\nPresharedKey = %s\n"}}`},
		{name: "an unseal key", resource: "pods", verb: "create", request: pod(`"env":[{"name":"VAULT_UNSEAL_KEY","value":"%s"}]`)},
		// Shapes of objects.
		{name: "a password that is an object", resource: "db.example.io/databases", verb: "create", request: `{"spec":{"password":{"value":"%s"}}}`},
		{name: "a parameter's default", resource: "tekton.dev/tasks", verb: "create", request: `{"spec":{"params":[{"name":"registry-password","default":"%s"}]}}`},
		{name: "a name beside a key", resource: "widgets", verb: "create", request: `{"spec":{"settings":[{"name":"x","key":"password","value":"%s"}]}}`},
		{name: "environment as an object", resource: "widgets", verb: "create", request: `{"spec":{"env":{"DB_PASS":"%s"}}}`},
		{name: "environment as texts", resource: "widgets", verb: "create", request: `{"spec":{"environment":["DB_PASS=%s"]}}`},
		{name: "headers as an object", resource: "widgets", verb: "create", request: `{"spec":{"headers":{"Cookie":"%s"}}}`},
		{name: "secrets in a ConfigMap's JSON", resource: "configmaps", verb: "create", request: `{"data":{"c.json":"{\"db\":{\"pass\":\"%s\"}}"}}`},
		{name: "commands of another name", resource: "bootstrap.cluster.x-k8s.io/kubeadmconfigs", verb: "create", request: `{"spec":{"preKubeadmCommands":["register --password %s --now"]}}`},
		{name: "a script", resource: "tekton.dev/tasks", verb: "create", request: `{"spec":{"steps":[{"script":"#!/bin/sh\ncurl -u me:%s https://x\n"}]}}`},
		{name: "a token's value", resource: "ext.cattle.io/tokens", verb: "create", response: `{"kind":"Token","apiVersion":"ext.cattle.io/v1","status":{"value":"%s"}}`},
		{name: "a client's new secret", resource: "clientsecret.supervisor.pinniped.dev/oidcclientsecretrequests", verb: "create", response: `{"kind":"OIDCClientSecretRequest","status":{"generatedSecret":"%s"}}`},
		// Texts of programs.
		{name: "XML element", resource: "configmaps", verb: "create", request: `{"data":{"s.xml":"<server><password>%s</password></server>"}}`},
		{name: "XML attribute", resource: "configmaps", verb: "create", request: `{"data":{"s.config":"<add key=\"ApiKey\" value=\"%s\" />"}}`},
		{name: "XML name and value", resource: "configmaps", verb: "create", request: `{"data":{"core-site.xml":"<property><name>fs.s3a.secret.key</name><value>%s</value></property>"}}`},
		{name: "redis.conf", resource: "configmaps", verb: "create", request: `{"data":{"redis.conf":"port 6379\nrequirepass %s\n"}}`},
		{name: "netrc in a text", resource: "configmaps", verb: "create", request: `{"data":{"setup":"machine h login me password %s\n"}}`},
		{name: "SQL in double quotes", resource: "pods/exec", verb: "create", uri: exec("command=mysql&command=-e&command=CREATE+USER+a+IDENTIFIED+BY+%22%u%22")},
		{name: "SQL with a plugin", resource: "pods/exec", verb: "create", uri: exec("command=mysql&command=-e&command=CREATE+USER+a+IDENTIFIED+WITH+caching_sha2_password+BY+%27%u%27")},
		{name: "SQL of a wide text", resource: "pods/exec", verb: "create", uri: exec("command=sqlcmd&command=-Q&command=CREATE+LOGIN+a+WITH+PASSWORD+%3D+N%27%u%27")},
		{name: "mongosh", resource: "pods/exec", verb: "create", uri: exec("command=mongosh&command=--eval&command=db.createUser%28%7Buser%3A%27a%27%2Cpwd%3A%27%u%27%7D%29")},
		{name: "redis set", resource: "pods/exec", verb: "create", uri: exec("command=redis-cli&command=CONFIG&command=SET&command=requirepass&command=%u")},
		{name: "redis user", resource: "pods/exec", verb: "create", uri: exec("command=redis-cli&command=ACL&command=SETUSER&command=a&command=on&command=%3E%u")},
		{name: "curl with a bearer", resource: "pods/exec", verb: "create", uri: exec("command=curl&command=--oauth2-bearer&command=%u&command=https%3A%2F%2Fx")},
		{name: "curl with a cookie", resource: "pods/exec", verb: "create", uri: exec("command=curl&command=-b&command=sid%3D%u&command=https%3A%2F%2Fx")},
		{name: "useradd", resource: "pods/exec", verb: "create", uri: exec("command=useradd&command=-p&command=%u&command=me")},
		{name: "an environment in YAML", resource: "configmaps", verb: "create", request: `{"data":{"v.yaml":"env:\n- name: DB_PASSWORD\n  value: %s\n"}}`},
		{name: "an environment in a line of YAML", resource: "configmaps", verb: "create", request: `{"data":{"v.yaml":"env:\n- {name: DB_PASSWORD, value: %s}\n"}}`},
		{name: "a list in YAML", resource: "configmaps", verb: "create", request: `{"data":{"v.yaml":"passwords:\n  - a\n  - %s\nx: y\n"}}`},
		{name: "a value in the next line", resource: "configmaps", verb: "create", request: `{"data":{"v.yaml":"password:\n  %s\nx: y\n"}}`},
		{name: "values of a chart as an object", resource: "helm.toolkit.fluxcd.io/helmreleases", verb: "create", request: `{"spec":{"values":{"smtp":{"pass":"%s"}}}}`},
		{name: "Dockerfile", resource: "configmaps", verb: "create", request: `{"data":{"Dockerfile":"FROM x\nENV DB_PASSWORD %s\n"}}`},
		{name: "Oracle", resource: "pods", verb: "create", request: pod(`"env":[{"name":"C","value":"jdbc:oracle:thin:me/%s@h:1521/x"}]`)},
		{name: "exec of vault", resource: "pods/exec", verb: "create", uri: exec("command=vault&command=kv&command=put&command=secret%2Fx&command=k%3D%u")},
		{name: "exec of vault's unseal", resource: "pods/exec", verb: "create", uri: exec("command=vault&command=operator&command=unseal&command=%u")},
		{name: "exec of etcdctl", resource: "pods/exec", verb: "create", uri: exec("command=etcdctl&command=user&command=add&command=me%3A%u")},
		{name: "a pipe into a login", resource: "pods/exec", verb: "create", uri: exec("command=sh&command=-c&command=echo+-n+%u+%7C+docker+login+--password-stdin+r")},
		{name: "a header without a space", resource: "pods/exec", verb: "create", uri: exec("command=curl&command=-HAuthorization%3A+token+%u")},
		{name: "a text into passwd", resource: "pods/exec", verb: "create", uri: exec("command=bash&command=-c&command=passwd+me+%3C%3C%3C+%u")},
		// Shapes of secrets.
		{name: "bootstrap token", resource: "widgets", verb: "create", request: `{"spec":{"note":"join with %s"}}`, shape: "07401b.f395accd246ae52z"},
		{name: "a hashed password", resource: "widgets", verb: "create", request: `{"spec":{"users":["me:%s"]}}`, shape: "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"},
		{name: "a hashed password of Linux", resource: "widgets", verb: "create", request: `{"spec":{"users":["me:%s:19000:0"]}}`, shape: "$6$saltsalt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./abcdefghijklmnopqrstuv"},
		{name: "a WebSocket's token", resource: "widgets", verb: "create", request: `{"spec":{"protocols":["base64url.bearer.authorization.k8s.io.%s"]}}`},
		{name: "a Discord webhook", resource: "widgets", verb: "create", request: `{"spec":{"url":"https://discord.com/api/webhooks/123456789012345678/%s"}}`, shape: "abcdefABCDEF0123456789_-abcdefABCDEF0123456789"},
		// Beside the bodies.
		{name: "a caller's extra", resource: "pods", verb: "get", user: `{"username":"ann","extra":{"example.io/access-token":["a","%s"]}}`},
		{name: "a caller's extra by shape", resource: "pods", verb: "get", user: `{"username":"ann","extra":{"example.io/raw":["%s"]}}`, shape: aJWT},
		{name: "an impersonated user", resource: "pods", verb: "get", impersonated: `{"username":"bob","extra":{"oauth-token":["%s"]}}`},
		{name: "a name that is a token", resource: "pods", verb: "get", user: `{"username":"%s","groups":["a"]}`, shape: aJWT},
		{name: "a group that is a token", resource: "pods", verb: "get", user: `{"username":"a","groups":["%s"]}`, shape: aGitHub},
		{name: "a message with an assignment", resource: "pods", verb: "create", message: `admission webhook "x" denied the request: DB_PASSWORD=%s stands in the clear`},
		{name: "a decoder's context", resource: "secrets", verb: "create", message: `Secret in version "v1" cannot be handled as a Secret: v1.Secret.Data: ReadString: expects " or n, error found in #10 byte of ...|{"db":"%s"},"kin|..., bigger context ...|{"data":{"db":"%s"}|...`},
		{name: "a decoder's context in the answer", resource: "secrets", verb: "create", response: `{"kind":"Status","message":"v1.Secret: error found in #10 byte of ...|{\"db\":\"%s\"},\"kin|..., bigger context ...|x|..."}`},
		{name: "a client's assignment", resource: "pods", verb: "get", agent: "tool/1 api_key=%s"},
	}
}
