package redact

import (
	"strings"
	"testing"
)

// A text that was made to take long is taken out whole before it does: with a square
// of the length this test would take hours.
func TestScanHostile(t *testing.T) {
	t.Parallel()
	const size = 1 << 18
	for _, part := range []string{
		"://", "eyJ-", "sk-", "LS0tLS1CRUdJTi-", "token: $(", "token=$(", "token=a&", "{token: ", "@tcp(", "x:@tcp(", "htpasswd -b ", "chpasswd ", "mysql -p ",
		"-----BEGIN PRIVATE KEY", "-----BEGIN ", "'password '", "token: |\n", " token: |\n\n", "\"", "\\", "=", ":", "token: \"\" ", "bearer ", "Authorization: Basic ", "(((", "\"--password ",
		"{\"a\":", "[", "kind: Secret\n", "  ", "%41", "%25", "%253D", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4 ", "H4sIAAAAAAAA/" + strings.Repeat("A", 80) + " ",
		"<value>", "<name>token</name><value>", "value=", "<a name=\"token\" value=", "$2y$10$", "$6$a$", "abcdef.", "'a'\\''", "token='a'\\''", "token=\\", "identified by '", "headers: {", "kind:", "value: ", "name: token\nvalue: ", "password:\n", "jdbc:oracle:@", "@", "echo a | docker --password-stdin ", "\"kind\" : \"", "data",
	} {
		text := strings.Repeat(part, size/len(part))
		found := scan(text, looking{assigned: true, names: broad, commands: true})
		redactURI("/x?command=" + text)
		for i, f := range found {
			if f.from < 0 || f.to > len(text) || f.from >= f.to || i > 0 && f.from < found[i-1].to {
				t.Fatalf("%q: spans %v", part, found[max(0, i-1):i+1])
			}
		}
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	all := looking{assigned: true, names: broad, commands: true}
	for in, want := range map[string]string{
		"mysql -u root -phunter2 db":                    "mysql -u root -p[redacted] db",
		"mysql -u root -p db":                           "mysql -u root -p db",
		"mysql -h x -P 3306":                            "mysql -h x -P 3306",
		"mkdir -p /a && ssh -p 22 h; tar -pxf a":        "mkdir -p /a && ssh -p 22 h; tar -pxf a",
		"docker run -p 80:80 x; docker login -p abc r":  "docker run -p 80:80 x; docker login -p [redacted] r",
		"sshpass -p abc ssh h":                          "sshpass -p [redacted] ssh h",
		"redis-cli -a abc ping":                         "redis-cli -a [redacted] ping",
		"redis-cli AUTH abc":                            "redis-cli AUTH [redacted]",
		"curl -u me:abc https://x":                      "curl -u me:[redacted] https://x",
		"curl --user=me:abc https://x":                  "curl --user=me:[redacted] https://x",
		`curl -H "X-Vault-Token: abc" x`:                `curl -H "X-Vault-Token: [redacted]" x`,
		"curl -H 'Authorization: Bearer abc' x":         "curl -H 'Authorization: Bearer [redacted]' x",
		`app --password "a b" --x`:                      `app --password "[redacted]" --x`,
		`app --password='a b' --x`:                      `app --password='[redacted]' --x`,
		"app --no-password x":                           "app --no-password x",
		"app --password-file /x --token-ttl=1h":         "app --password-file /x --token-ttl=1h",
		"TOKEN=abc app":                                 "TOKEN=[redacted] app",
		"export TOKEN=$OTHER; app $TOKEN":               "export TOKEN=$OTHER; app $TOKEN",
		"aws configure set aws_secret_access_key abc":   "aws configure set aws_secret_access_key [redacted]",
		"vault login abc":                               "vault login [redacted]",
		"mc alias set m https://m KEY abc":              "mc alias set m https://m [redacted] [redacted]",
		"htpasswd -bc f u abc":                          "htpasswd -bc f u [redacted]",
		"echo root:abc | chpasswd":                      "echo root:[redacted] | chpasswd",
		"openssl enc -pass pass:abc -in x":              "openssl enc -pass pass:[redacted] -in x",
		"smbclient -U me%abc //h/s":                     "smbclient -U me%[redacted] //h/s",
		"bash -c 'mysql -pabc'":                         "bash -c 'mysql -p[redacted]'",
		"https://me:abc@h/x https://h:8080/a@b git@h:x": "https://me:[redacted]@h/x https://h:8080/a@b git@h:x",
		"amqp://me:a@b@h/x redis://:abc@h ssh://git@h":  "amqp://me:[redacted]@h/x redis://:[redacted]@h ssh://git@h",
		"app:abc@tcp(h:3306)/d":                         "app:[redacted]@tcp(h:3306)/d",
		"Server=h;User Id=a;Password=abc;Timeout=3":     "Server=h;User Id=a;Password=[redacted];Timeout=3",
		"IDENTIFIED BY 'abc' x":                         "IDENTIFIED BY '[redacted]' x",
		`{"password":"abc","a":"b"}`:                    `{"password":"[redacted]","a":"b"}`,
		`{\"password\":\"abc\",\"a\":\"b\"}`:            `{\"password\":\"[redacted]\",\"a\":\"b\"}`,
		"{a: b, password: abc, c: d}":                   "{a: b, password: [redacted], c: d}",
		"a:\n  password: abc # x\n  b: c":               "a:\n  password: [redacted] # x\n  b: c",
		"token: |\n  abc\n  def\nx: y":                  "token: |\n  [redacted]\nx: y",
		"if password == \"\" { x }":                     "if password == \"\" { x }",
		"invalid password: too short":                   "invalid password: too short",
		"the token is abc":                              "the token is abc",
		"Bearer 0123456789ABCDEFGHIJ end":               "Bearer [redacted] end",
		"basic bWU6aHVudGVyMg== end":                    "basic [redacted] end",
		"basic understanding":                           "basic understanding",
		"s3_secret_key = abc def":                       "s3_secret_key = [redacted]",
		"password: [redacted]":                          "password: [redacted]",
	} {
		if got := cut(in, scan(in, all)); got != want {
			t.Errorf("%s\nis  %s\nnot %s", in, got, want)
		}
	}
}
