package leak

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// The credentials below are made here, with check digits of their own, so that no
// scanner of repositories takes this file for a leak.

func withCRC(prefix, body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	tail := make([]byte, 6)
	for i := 5; i >= 0; i-- {
		tail[i] = base62[sum%62]
		sum /= 62
	}
	return prefix + body + string(tail)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func token(header, claims string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(claims)) + "." + e([]byte("not a signature but as long as one!"))
}

const (
	noise40 = "tQ3vX9bL/mK2pRz7wYc+HdN5sJ8gFuE1aTo4iVk6"
	noise30 = "kT9vQ2mXz7LpW4cRb8NdY1sHf6JgAe"
)

func pemKey(label string) string {
	return "-----BEGIN " + label + "-----\n" + strings.Repeat("MIIEowIBAAKCAQEAtQ3vX9bLmK2pRz7wYcHdN5sJ8gFuE1aTo4iVk6qZx0Ca\n", 8) + "-----END " + label + "-----\n"
}

var found = []struct {
	name, key, text string
	want            string // part of the kind
	severity        bulwark.Severity
}{
	{"github", "note", "use " + withCRC("ghp_", noise30) + ".", "GitHub personal", high},
	{"github in a url", "repo", "https://" + withCRC("gho_", noise30) + "@github.com/shop/web", "GitHub OAuth", high},
	{"npm", ".npmrc", "//registry.npmjs.org/:_authToken=" + withCRC("npm_", noise30), "npm token", high},
	{"gitlab", "x", "glpat-" + noise30[:20], "GitLab personal", high},
	{"slack", "x", "xoxb-" + "248163264128-2481632641281-" + noise30[:24], "Slack bot", high},
	{"slack hook", "x", "https://hooks.slack.com/services/T0" + "12AB34C/B0" + "12CD34E/" + noise30[:24], "Slack webhook", medium},
	{"stripe", "x", "sk_li" + "ve_" + noise30, "Stripe secret", high},
	{"stripe test", "x", "sk_te" + "st_" + noise30, "Stripe test", low},
	{"pypi", "x", "pypi-" + "AgEIcHlwaS5vcmc" + noise30 + noise30, "PyPI", high},
	{"google", "x", "AIza" + noise30 + "B7x_-", "Google API key", medium},
	{"vault", "x", "hvs." + noise30, "Vault", high},
	{"digitalocean", "x", "dop_v1_" + strings.Repeat("0f9a1c7be4d2835a", 4), "DigitalOcean", high},
	{"sendgrid", "x", "SG." + noise30[:22] + "." + noise30 + noise30[:13], "SendGrid", high},
	{"age", "x", "AGE-SECRET-KEY-1" + strings.ToUpper(noise30 + noise30)[:58], "age secret", high},
	{"aws id", "x", "AKIA" + "Q3XZ7MKP2WTR5YLN", "AWS access key id", low},
	{"aws pair", "credentials", "[default]\naws_access_key_id = AKIA" + "Q3XZ7MKP2WTR5YLN\naws_secret_access_key = " + noise40, "AWS access key with its secret", high},
	{"aws secret by name", "AWS_SECRET_ACCESS_KEY", noise40, "AWS secret access key", high},
	{"jwt", "x", token(`{"alg":"RS256","typ":"JWT"}`, `{"sub":"web","iss":"https://login.example.net"}`), "signed JSON web token", medium},
	{"jwt as bearer", "header", "Authorization: Bearer " + token(`{"alg":"HS256"}`, `{"sub":"web"}`), "signed JSON web token", medium},
	{"service account", "x", token(`{"alg":"RS256","kid":"1"}`, `{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:shop:web"}`), "Kubernetes ServiceAccount", high},
	{"unsigned", "x", token(`{"alg":"none"}`, `{"sub":"web"}`), "unsigned", low},
	{"pem", "tls.key", pemKey("RSA PRIVATE KEY"), "a private key", high},
	{"openssh", "id", "some text\n" + pemKey("OPENSSH PRIVATE KEY"), "a private key", high},
	{"pem in json", "x", strings.ReplaceAll(`{"key":"`+pemKey("PRIVATE KEY")+`"}`, "\n", `\n`), "a private key", high},
	{"encrypted pem", "x", pemKey("ENCRYPTED PRIVATE KEY"), "encrypted private key", low},
	{"pem in base64", "x", b64(pemKey("EC PRIVATE KEY")), "private key in base64", high},
	{"kubeconfig", "config", "apiVersion: v1\nkind: Config\nusers:\n- user:\n    client-key-data: " + b64(pemKey("EC PRIVATE KEY")), "kubeconfig", high},
	{"gcp", "sa.json", strings.ReplaceAll(`{"type":"service_account","project_id":"shop","private_key_id":"0f","private_key":"`+pemKey("PRIVATE KEY")+`"}`, "\n", `\n`), "Google Cloud service account", high},
	{"docker", ".dockerconfigjson", `{"auths": {"shop.example": {"auth": "` + b64("robot:"+noise30) + `"}}}`, "login of a registry", high},
	{"docker in base64", "x", b64(`{"auths":{"shop.example":{"auth":"` + b64("robot:"+noise30) + `"}}}`), "login of a registry in base64", high},
	{"azure", "x", "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=" + b64(noise40+noise30[:24]) + ";EndpointSuffix=core.windows.net", "Azure storage key", high},
	{"azure bus", "x", "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey=" + b64(noise40[:32]), "Azure shared access key", high},
	{"entra", "x", "Zx3" + "8Q~" + noise30 + "_.a", "Entra ID", high},
	{"url", "DB_URL", "postgres://shop:tr0ub4dor@db.shop.svc:5432/shop", "URL with a password", high},
	{"url well known", "DB_URL", "amqp://guest:guest@rabbit/", "well-known password", low},
	{"basic", "x", "Authorization: Basic " + b64("shop:tr0ub4dor"), "basic authentication", high},
	{"telegram", "x", "12345678" + "90:AA" + noise30 + "Bc3", "Telegram", high},
	{"password by name", "DB_PASSWORD", "tr0ub4dor&3", "a password", high},
	{"password of words", "MYSQL_ROOT_PASSWORD", "rootpasswd", "well-known password", low},
	{"plain word", "spring.datasource.password", "velocipede", "a password", medium},
	{"camel", "dbPassword", "Tr0ub4dor&3", "a password", high},
	{"changeme", "ADMIN_PASSWORD", "changeme", "well-known password", low},
	{"base64 password", "pwd", b64("password"), "well-known password in base64", low},
	{"random under a name", "SESSION_SECRET", noise30, "random secret value", high},
	{"hex key", "DATADOG_API_KEY", "0f9a1c7be4d2835a6b7c8d9e0f1a2b3c", "secret value", high},
	{"properties", "app.properties", "server.port=8080\nspring.datasource.password=Tr0ub4dor3\n", "a password named spring.datasource.password", high},
	{"yaml", "config.yaml", "db:\n  host: db\n  password: \"Tr0ub4dor3\"\n", "a password named password", high},
	{"json", "config.json", `{"db":{"host":"db","password":"Tr0ub4dor3"}}`, "a password named password", high},
	{"json in json", "x", `{"a":"{\"password\":\"Tr0ub4dor3\"}"}`, "a password named password", high},
	{"connection string", "DB", "Server=db;Database=shop;User Id=sa;Password=Tr0ub4dor3;", "a password named Password", high},
	{"flag", "", "--db-password=Tr0ub4dor3", "a password named db-password", high},
	{"query", "x", "https://api.example.net/x?api_key=" + noise30, "named api_key", high},
	{"slack refresh", "x", "xoxe-" + "1-" + noise30 + noise30, "Slack refresh", high},
	{"gitlab feed", "x", "glft-" + noise30[:20], "GitLab feed", medium},
	{"google access", "x", "ya29." + noise30 + noise30, "Google access token", medium},
	{"sonar", "x", "sqp_" + strings.Repeat("0f9a1c7be4", 4), "SonarQube", high},
	{"firebase", "x", noise30[:11] + ":APA91b" + noise30 + noise30 + noise30 + noise30 + noise30, "Firebase", high},
	{"terraform", "x", noise30[:14] + ".atlasv1." + noise30 + noise30, "Terraform", high},
	{"npm login", ".npmrc", "//registry.example/:_auth=" + b64("robot:"+noise30) + "\n", "login of a registry", high},
	{"npm login, quoted", ".npmrc", `_auth = "` + b64("robot:Tr0ub4dor") + `"`, "login of a registry", high},
	{"azure signature", "x", "https://shop.blob.core.windows.net/c?sv=2024-05-04&se=2027-01-01&sr=c&sp=rl&sig=" + noise40 + "%3D", "shared access signature", medium},
	{"go dsn", "DSN", "shop:Tr0ub4dor&3@tcp(db:3306)/shop?parseTime=true", "a database address", high},
	{"go dsn in a file", ".env", "DSN=shop:tr0ub4dor@unix(/run/mysql.sock)/shop\n", "a database address", high},
	{"go dsn well known", "DSN", "root:root@tcp(db:3306)/", "well-known password", low},
	{"oracle", "url", "jdbc:oracle:thin:shop/tr0ub4dor@//db:1521/shop", "a database address", high},
	{"jdbc", "url", "jdbc:mysql://db/shop?user=shop&password=Tr0ub4dor3", "a password named password", high},
	{"libpq", "dsn", "host=db user=shop password=Tr0ub4dor3 sslmode=require", "a password named password", high},
	{"redis url", "REDIS_URL", "redis://:tr0ub4dor@redis:6379/0", "URL with a password", high},
	{"odbc", "x", "Driver={ODBC Driver 18};Server=db;Uid=sa;Pwd=Tr0ub4dor3;", "a password named Pwd", high},
	{"netrc", ".netrc", "machine git.example\n  login robot\n  password tr0ub4dor\n", ".netrc", high},
	{"curl", "", "set -e; curl -fsS -u robot:tr0ub4dor https://x", "a login", high},
	{"mysql", "", "exec mysqldump -uroot -ptr0ub4dor shop > /backup/shop.sql", "a login", high},
	{"sshpass", "", "sshpass -p 'tr0ub4dor' ssh host", "a login", high},
	{"xml element", "app.xml", "<db>\n  <password>Tr0ub4dor3</password>\n</db>", "a password named password", high},
	{"xml attribute", "server.xml", `<Resource name="jdbc/shop" username="shop" password="Tr0ub4dor3"/>`, "a password named password", high},
	{"xml name and value", "web.config", `<add key="DbPassword" value="Tr0ub4dor3" />`, "a password named DbPassword", high},
	{"xml entry", "props.xml", `<entry key="db.password">Tr0ub4dor3</entry>`, "a password named db.password", high},
	{"spring bean", "beans.xml", `<property name="password" value="Tr0ub4dor3"/>`, "a password named password", high},
	{"yaml name and value", "values.yaml", "env:\n- name: DB_PASSWORD\n  value: Tr0ub4dor3\n", "a password named DB_PASSWORD", high},
	{"json name and value", "env.json", `[{"name":"DB_PASSWORD","value":"Tr0ub4dor3"}]`, "a password named DB_PASSWORD", high},
	{"flag with a space", "run.sh", "app --db-password Tr0ub4dor3 --port 80\n", "a password named db-password", high},
	{"redis conf", "redis.conf", "port 6379\nrequirepass Tr0ub4dor3\n", "a password named requirepass", high},
	{"ini", "app.ini", "[db]\nuser = shop\npassword = Tr0ub4dor3\n", "a password named password", high},
	{"toml", "app.toml", "[db]\npassword = 'Tr0ub4dor3'\n", "a password named password", high},
	{"env file", ".env", "# comment\nexport DB_PASSWORD='Tr0ub4dor&3'\n", "a password named DB_PASSWORD", high},
	{"env file in base64", "env", b64("A=b\nDB_PASSWORD=Tr0ub4dor3\n"), "a password named DB_PASSWORD in base64", high},
	{"mark at the beginning", "DB_PASSWORD", "!Passw0rd123", "a password", high},
	{"address sign at the beginning", "DB_PASSWORD", "@dm1n-Tr0ub4dor", "a password", high},
	{"dollar within", "DB_PASSWORD", "Tr0ub$4dor!", "a password", high},
	{"uuid as password", "DB_PASSWORD", "3f2b8c1e-9a4d-4e6f-8b7a-1c2d3e4f5a6b", "a password", high},
	{"digits as password", "ADMIN_PASSWORD", "84729104", "a password", medium},
	{"short name", "DB_PW", "tr0ub4dor", "a password", medium},
	{"join token", "args", "kubeadm join --token 7hd02k.9f3ka81mdk20fh3x 10.0.0.1:6443", "named token", high},
	{"script", "run.sh", "#!/bin/sh\nexport TOKEN=" + noise30 + "\nrun\n", "named TOKEN", high},
}

func TestFound(t *testing.T) {
	t.Parallel()
	for _, tt := range found {
		t.Run(tt.name, func(t *testing.T) {
			hits := search(tt.key, tt.text)
			if len(hits) == 0 {
				t.Fatalf("nothing is found")
			}
			if h := hits[0]; !strings.Contains(h.kind, tt.want) && !strings.Contains(hits[len(hits)-1].kind, tt.want) || h.severity != tt.severity && hits[len(hits)-1].severity != tt.severity {
				t.Errorf("found %q (%s), want %q (%s)", h.kind, h.severity, tt.want, tt.severity)
			}
		})
	}
	if len(found) < 50 {
		t.Errorf("only %d credentials", len(found))
	}
}

var harmless = []struct{ name, key, text string }{
	{"example key id", "x", "AKIAIOSFODNN7EXAMPLE"},
	{"example secret", "AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
	{"file", "DB_PASSWORD_FILE", "/run/secrets/db"},
	{"path", "PASSWORD_PATH", "/etc/shop/password"},
	{"path under a name", "DB_PASSWORD", "/run/secrets/db-password"},
	{"url", "TOKEN_URL", "https://login.example.net/token"},
	{"url under a name", "OAUTH_TOKEN", "https://login.example.net/oauth/token"},
	{"url without password", "DB_URL", "postgres://shop@db:5432/shop"},
	{"url with a variable", "DB_URL", "postgres://shop:$(DB_PASSWORD)@db:5432/shop"},
	{"url with a template", "DB_URL", "postgres://shop:${DB_PASSWORD}@db:5432/shop"},
	{"url with an ipv6 host", "x", "http://[2001:db8::1]:8080/a@b"},
	{"url with an at in its path", "x", "https://cdn.example.net:443/npm/@shop/web"},
	{"variable", "DB_PASSWORD", "$(DB_PASSWORD)"},
	{"template", "DB_PASSWORD", "{{ .Values.password }}"},
	{"vault reference", "DB_PASSWORD", "vault:secret/data/shop#password"},
	{"op reference", "API_TOKEN", "op://shop/api/token"},
	{"arn", "API_SECRET", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-AbCdEf"},
	{"placeholder", "API_TOKEN", "<your-token-here>"},
	{"placeholder words", "API_TOKEN", "REPLACE_WITH_TOKEN_1234567890"},
	{"stars", "DB_PASSWORD", "********"},
	{"empty", "DB_PASSWORD", ""},
	{"switch", "RESET_PASSWORD", "true"},
	{"number", "TOKEN_SECRET", "3600"},
	{"duration", "session.token", "30m"},
	{"name of a secret", "tokenSecret", "shop-db-credentials"},
	{"name of a secret with a number", "API_SECRET", "shop-web-api-key-v2"},
	{"relative path", "aws_secret", "my/secret/file/path"},
	{"lifetime", "TOKEN_TTL", "86400"},
	{"max tokens", "MAX_TOKENS", "4096"},
	{"tokenizer", "TOKENIZER", "cl100k_base_model_2024x9Z"},
	{"uuid", "CLIENT_TOKEN", "3f2b8c1e-9a4d-4e6f-8b7a-1c2d3e4f5a6b"},
	{"digest", "IMAGE_SECRET", "sha256:0f9a1c7be4d2835a6b7c8d9e0f1a2b3c0f9a1c7be4d2835a6b7c8d9e0f1a2b3c"},
	{"hash", "PASSWORD_HASH", "0f9a1c7be4d2835a6b7c8d9e0f1a2b3c"},
	{"bcrypt", "ADMIN_PASSWORD", "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"},
	{"random without a name", "REVISION", noise30},
	{"commit", "GIT_COMMIT", "0f9a1c7be4d2835a6b7c8d9e0f1a2b3c4d5e6f70"},
	{"certificate", "ca.crt", "-----BEGIN CERTIFICATE-----\n" + strings.Repeat("MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n", 9) + "-----END CERTIFICATE-----\n"},
	{"public key", "x", strings.ReplaceAll(pemKey("PUBLIC KEY"), "RSA", "")},
	{"certificate in base64", "certificate-authority-data", b64("-----BEGIN CERTIFICATE-----\n" + strings.Repeat("MIIDdzCCAl", 30))},
	{"key in a manual", "x", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"},
	{"jwt of documents", "x", token(`{"alg":"HS256","typ":"JWT"}`, `{"sub":"1234567890","name":"John Doe","iat":1516239022}`)},
	{"not a jwt", "x", "eyJub3RoaW5nIjoxfQ.abc.def"},
	{"github with wrong digits", "x", "ghp_" + noise30 + "aaaaaa"},
	{"too short", "x", "ghp_abc"},
	{"within a word", "x", "myghp_" + noise30 + "aaaaaa"},
	{"basic without colon", "x", "Authorization: Basic " + b64("not a login at all")},
	{"basic in words", "x", "Basic authentication is on"},
	{"bearer in words", "x", "Bearer tokens are checked"},
	{"bearer of a variable", "x", "Authorization: Bearer ${TOKEN}"},
	{"code", "app.py", "password = os.environ[\"DB_PASSWORD\"]\ntoken = get_token(user)\nsecret=self.config.secret\n"},
	{"shell", "run.sh", "TOKEN=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\ncurl -H \"Authorization: Bearer $TOKEN\" https://kubernetes.default.svc\n"},
	{"translation", "en.json", `{"password":"Password","resetPassword":"Reset your password","token":"Token"}`},
	{"schema", "openapi.yaml", "properties:\n  password:\n    type: string\n  token: string\n"},
	{"flag of a file", "", "--token-auth-file=/etc/kubernetes/tokens"},
	{"key name", "secretKey", "tls.crt"},
	{"image pull", "imagePullSecret", "registry-shop-2024-east1"},
	{"public key by name", "PUBLIC_KEY", noise30},
	{"csrf", "csrf_token", noise30},
	{"commented", "app.conf", "# password=Tr0ub4dor3\n"},
	{"jsonpath", "x", `{.data.password}`},
	{"ssh public", "deploy_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPq3vX9bLmK2pRz7wYcHdN5sJ8gFuE1aTo4iVk6qZx0C shop"},
	{"token in doubt", "token", "AAAAB3NzaC1yc2EAAAADAQABAAABAQCtQ3vX9bLmK2pRz7wYcHdN5sJ8gFuE1a"},
	{"name as value", "REDIS_PASSWORD", "redis_password"},
	{"marks on both sides", "DB_PASSWORD", "__DB_PASSWORD__"},
	{"at on both sides", "DB_PASSWORD", "@DB_PASSWORD@"},
	{"braces", "DB_PASSWORD", "{DB_PASSWORD}"},
	{"percent", "DB_PASSWORD", "%DB_PASSWORD%"},
	{"bullets", "DB_PASSWORD", "••••••••"},
	{"shell variable", "DB_PASSWORD", "$DB_PASSWORD_2"},
	{"vault tag", "DB_PASSWORD", "!vault secret/shop:password"},
	{"file of curl", "API_TOKEN", "@/run/secrets/token"},
	{"crypt", "ADMIN_PASSWORD", "$apr1$tQ3vX9bL$mK2pRz7wYcHdN5sJ8gFuE1"},
	{"sha512 crypt", "rootpw", "$6$tQ3vX9bL$mK2pRz7wYcHdN5sJ8gFuE1aTo4iVk6"},
	{"go dsn of a variable", "DSN", "shop:${DB_PASSWORD}@tcp(db:3306)/shop"},
	{"go dsn without password", "DSN", "shop@tcp(db:3306)/shop"},
	{"oracle of a variable", "url", "jdbc:oracle:thin:${USER}/${PASSWORD}@db:1521"},
	{"oracle without password", "url", "jdbc:oracle:thin:@//db:1521/shop"},
	{"curl of a variable", "", "curl -u \"$USER:$PASSWORD\" https://x"},
	{"curl without password", "", "curl -u robot https://x:8080/"},
	{"user and group", "", "docker run --user 1000:1000 -u nginx:nginx x"},
	{"mysql that asks", "", "mysql -u root -p shop"},
	{"mysql of a variable", "", "mysql -uroot -p$MYSQL_ROOT_PASSWORD shop"},
	{"mysql port", "", "mysqladmin --port=3306 -p3306 ping"},
	{"machine in words", "x", "The machine password is reset when a machine login fails"},
	{"xml placeholder", "app.xml", "<password>${db.password}</password><token></token><secret><name>x</name></secret>"},
	{"html label", "x", "<label for=\"password\">Password</label> <token> is a word"},
	{"yaml name without value", "values.yaml", "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db-2024, key: password}\n- name: MODE\n  value: Fast-9\n"},
	{"flag in a manual", "x", "  --password string    password of the user\n  --token <token>   the token\n  --secret NAME  name of the secret\n"},
	{"signature without an address", "x", "sig=" + noise40},
	{"auth switched on", "x", "basic_auth: true\n_auth = on\n"},
	{"arrow", "x", "(password) => console.log(password)"},
	{"encrypted", "db_password", "ENC[AES256_GCM,data:tQ3vX9bL,iv:mK2pRz7w,tag:YcHdN5sJ,type:str]"},
}

func TestHarmless(t *testing.T) {
	t.Parallel()
	for _, tt := range harmless {
		t.Run(tt.name, func(t *testing.T) {
			for _, h := range search(tt.key, tt.text) {
				t.Errorf("found %q (%s)", h.kind, h.severity)
			}
		})
	}
	if len(harmless) < 50 {
		t.Errorf("only %d harmless texts", len(harmless))
	}
}

// What a control says of a flag or an address, and the error of a library, show no
// credential.
func TestMasked(t *testing.T) {
	t.Parallel()
	masked := 0
	for _, tt := range found {
		got := Masked(tt.text)
		if got != tt.text {
			masked++
		}
		for _, h := range search("x", tt.text) {
			if h.at >= 0 && h.length > 6 && strings.Contains(got, tt.text[h.end-5:h.end]) {
				t.Errorf("%s: %q is still in %q", tt.name, tt.text[h.end-5:h.end], got)
			}
		}
	}
	if masked < 60 {
		t.Errorf("only %d texts were masked", masked)
	}
	for _, tt := range harmless {
		if got := Masked(tt.text); got != tt.text {
			t.Errorf("%s became %q", tt.name, got)
		}
	}
	const flag = "kube-apiserver runs with --etcd-servers=http://root:tr0ub4dor@etcd:2379 --token-auth-file=/etc/tokens"
	const want = "kube-apiserver runs with --etcd-servers=" + hidden + "@etcd:2379 --token-auth-file=/etc/tokens"
	if got := Masked(flag); got != want {
		t.Errorf("got %q", got)
	}
	cause := errors.New("dial https://shop:tr0ub4dor@x: no")
	if err := Error(fmt.Errorf("read: %w", cause)); strings.Contains(err.Error(), "tr0ub4dor") || !errors.Is(err, cause) || Error(nil) != nil {
		t.Errorf("%v", err)
	}
}

// Of several of one kind in a text the worst counts, and many that are harmless hide
// none.
func TestWorstCounts(t *testing.T) {
	t.Parallel()
	ids := ""
	for i := range 60 {
		ids += "AKIA" + "Q3XZ7MKP2WTR5Y" + string(rune('A'+i%26)) + string(rune('A'+i/26)) + " \n"
	}
	text := "password: sesame77\n" + ids + "password: Tr0ub4dor&3\n" + strings.Repeat(" \n", 300) + withCRC("ghp_", noise30)
	results, _ := judge(t, subject(t, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"a": text}}))
	by := map[string]bulwark.Severity{}
	for _, r := range results {
		by[r.Message[:min(len(r.Message), 30)]] = r.Severity
		if strings.Contains(r.Message, "a password named") && (r.Severity != high || !strings.Contains(r.Message, "line 62")) {
			t.Errorf("%s is %s", r.Message, r.Severity)
		}
	}
	if len(results) != 3 {
		t.Errorf("got %+v", results)
	}
}

// subject makes an object of JSON values.
func subject(tb testing.TB, object map[string]any) *control.Subject {
	tb.Helper()
	s, err := control.SubjectOf(object)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func judge(tb testing.TB, s *control.Subject) (out []control.Result, by map[string]int) {
	tb.Helper()
	by = map[string]int{}
	for _, c := range Controls() {
		if !c.Applies(s) {
			continue
		}
		for _, r := range c.Judge(s) {
			if r.Verdict != bulwark.VerdictPass {
				out = append(out, r)
				by[c.Meta().ID]++
			}
		}
	}
	return out, by
}

// No message, key or field shows a part of what was found.
func TestNothingIsShown(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, tt := range found {
		s := subject(t, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{tt.key + "k": "x", "a" + tt.key: tt.text}})
		results, _ := judge(t, s)
		for _, r := range results {
			ran++
			for _, part := range strings.FieldsFunc(tt.text, func(r rune) bool { return strings.ContainsRune(" \n\"=:/@{},;?&.'", r) }) {
				if _, _, digit, _ := mix(part); len(part) > 6 && digit && strings.Contains(r.Message+r.Key+r.Field+r.Reason, part) {
					t.Errorf("%s: the result shows %q: %s", tt.name, part, r.Message)
				}
			}
		}
	}
	if ran < 40 {
		t.Errorf("only %d results were looked at", ran)
	}
}
