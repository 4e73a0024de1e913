package leak

import (
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"strings"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
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

// subject makes an object of JSON values.
func subject(tb testing.TB, object map[string]any) *control.Subject {
	tb.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		tb.Fatal(err)
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := control.NewSubject(o)
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
