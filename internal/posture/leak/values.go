package leak

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark"
)

// reference reports whether a value stands for another one: a variable, a mark of
// a template, the address of a secret in a store, or an encrypted one. In loose text
// a mark at the beginning is enough; a value that stands alone may be a password
// that begins so.
func reference(v string, loose bool) bool {
	if v == "" || marked(v, loose) {
		return true
	}
	for _, pair := range [...]string{"%%", "<>", "[]", "{}", "@@", "##"} {
		if v[0] == pair[0] && v[len(v)-1] == pair[1] {
			return true
		}
	}
	if strings.HasPrefix(v, "__") && strings.HasSuffix(v, "__") {
		return true
	}
	for _, mark := range [...]string{"${", "$(", "{{", "}}", "%(", "%{", "<%", "#{", "$__", "((", "ENC[", "ENC(", "{cipher}"} {
		if strings.Contains(v, mark) {
			return true
		}
	}
	low := strings.ToLower(v[:min(len(v), 48)])
	for _, p := range [...]string{"vault:", "secret:", "secret/", "secrets/", "ref+", "env:", "env.", "env(", "env[", "file:", "op://", "arn:", "projects/", "sm://", "gcp-sm", "awssm", "ssm:", "keyvault", "kv/", "kms:", "azurekeyvault", "secretkeyref", "valuefrom", "os.environ", "os.getenv", "process.env", "getenv", "system.getenv", "akv:", "k8s:", "kubernetes:", "vault.", "ngx.var", "-----begin certificate", "-----begin public", "-----begin pgp message", "ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2"} {
		if strings.HasPrefix(low, p) {
			return true
		}
	}
	return len(v) == len("age1")+58 && strings.HasPrefix(v, "age1") // a public key
}

// marked reports whether a value begins with a mark that makes a reference of it: of
// a variable, an anchor of YAML or its alias, a tag, a file.
func marked(v string, loose bool) bool {
	rest := v[1:]
	switch v[0] {
	case '$':
		return loose && !strings.HasPrefix(v, "$2") || run(rest, 0, nameByte, len(rest)) == len(rest)
	case '!', '@', '&', '*':
		_, _, digit, _ := mix(rest)
		return loose || !digit && strings.IndexFunc(rest, func(r rune) bool { return strings.ContainsRune("!@#$%^&*+=~?", r) }) < 0
	}
	return false
}

// empty values and settings are no secrets.
var settings = set("", "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "undefined", "enabled", "disabled", "enable", "disable", "required", "optional", "string", "str", "text", "password", "secret", "token", "bearer", "basic", "jwt", "opaque", "auto", "default", "random", "generate", "generated", "unset", "empty", "n/a", "na", "todo", "tbd", "file", "env", "header", "cookie", "query", "body", "int", "integer", "bool", "boolean", "any", "object", "var", "value", "key", "never", "always", "md5", "bcrypt", "scrypt", "pbkdf2", "argon2id", "argon2i", "argon2", "scram-sha-512", "scram-sha-256", "plain", "sha256", "external", "oauth2", "oidc", "kubernetes", "vault", "~", "hidden", "masked", "notset", "not-set", "not_set", "unknown", "redacted", "removed")

// weak are the passwords that every attacker tries first.
var weak = set("changeme", "change-me", "change_me", "changeit", "password", "passwd", "password1", "password123", "passw0rd", "p@ssw0rd", "p@ssword", "pass", "pass123", "pass1234", "admin", "admin123", "admin1234", "administrator", "root", "rootpassword", "rootpasswd", "toor", "secret", "secret123", "mysecret", "mypassword", "supersecret", "letmein", "welcome", "welcome1", "qwerty", "qwerty123", "test", "test123", "test1234", "testing", "guest", "default", "user", "demo", "foo", "bar", "foobar", "hi", "hello", "abc123", "123", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "111111", "000000", "postgres", "postgresql", "mysql", "mariadb", "mongo", "mongodb", "redis", "rabbitmq", "minio", "minio123", "minioadmin", "elastic", "kibana", "grafana", "prom-operator", "jenkins", "tomcat", "wordpress", "drupal", "example", "sa", "oracle", "manager", "nimda", "pwd", "s3cr3t", "s3cret", "hunter2", "iloveyou", "dragon", "monkey", "trustno1")

func wellKnown(v string) bool { return weak[strings.ToLower(v)] }

// named judges a value that stands under the name of a secret. In loose text (a
// line of a program, a manual, a form) much looks like one, so more is asked of it.
func named(value string, password, loose bool) (kind string, severity bulwark.Severity, ok bool) {
	v := strings.TrimSpace(value)
	v = strings.Trim(v, "\"'`")
	if len(v) > maxPart || strings.ContainsAny(v, "\n\t") || reference(v, loose) {
		return "", 0, false
	}
	if raw, is := unbase64(v); is && len(v) >= 8 && !loose && printable(raw) && strings.TrimSpace(raw) != "" {
		if k, s, found := named(raw, password, false); found && (wellKnown(strings.TrimSpace(raw)) || s > low) {
			return k + " in base64", s, true
		}
	}
	if password && wellKnown(v) && (!loose || v == strings.ToLower(v) && !settings[v]) {
		return "a well-known password", low, true
	}
	// Under the name of a password a UUID, and a long number that stands alone, is one.
	digitsOnly := len(v) >= 6 && run(v, 0, digits, len(v)) == len(v)
	if settings[strings.ToLower(v)] || madeUp(v) || public(v) || uuid(v) && !password || number(v) && (!password || loose || !digitsOnly) {
		return "", 0, false
	}
	lower, upper, digit, other := mix(v)
	kinds := count(lower, upper, digit, other)
	if strings.Contains(v, " ") && (!other && !digit || strings.Count(v, " ") > 1) { // a sentence
		return "", 0, false
	}
	if password {
		if loose && (kinds < 2 || len(v) < 6 || code(v) || lower && upper && kinds == 2) {
			return "", 0, false
		}
		if kinds >= 3 && len(v) >= 8 || entropy(v) > 3.5 {
			return "a password", high, true
		}
		return "a password", medium, true
	}
	switch {
	case len(v) < 16 || loose && code(v) || kinds < 2:
		return "", 0, false
	case !digit && !other: // words, as the name of a Secret
		return "", 0, false
	case !upper && strings.ContainsAny(v, "-./") && pronounced(v):
		return "", 0, false
	case entropy(v) < 3:
		return "", 0, false
	case awsSecret(v):
		return "an AWS secret access key", high, true
	case entropy(v) < 3.4:
		return "a secret value", medium, true
	}
	return "a random secret value", high, true
}

// number reports whether a value is a number or a duration.
func number(v string) bool {
	if len(v) > 12 {
		return false
	}
	i := run(v, 0, digits|dot, len(v))
	return i > 0 && (i == len(v) || strings.Contains("ms s m h d w Mi Gi Ki", v[i:]))
}

// public reports whether a value is of a kind that is no secret: a path, an address, a
// digest, a password hash, a certificate or a public key.
func public(v string) bool {
	switch {
	case strings.HasPrefix(v, "/") && !strings.ContainsAny(v, "+= ") && strings.Count(v, "/") > 1 || strings.HasPrefix(v, "./") || strings.HasPrefix(v, "../") || strings.HasPrefix(v, "~/") || strings.HasPrefix(v, `C:\`):
		return true
	case strings.Contains(v, "://"): // one with a password is found by its structure
		return true
	case v[0] == '$' && strings.Count(v, "$") >= 3, strings.HasPrefix(v, "{SHA}"), strings.HasPrefix(v, "{SSHA}"), strings.HasPrefix(v, "{bcrypt}"), strings.HasPrefix(v, "SCRAM-SHA"), strings.HasPrefix(v, "pbkdf2"):
		return true
	case strings.HasPrefix(v, "sha256:"), strings.HasPrefix(v, "sha512:"), strings.HasPrefix(v, "sha1:"), strings.HasPrefix(v, "md5:"), strings.HasPrefix(v, "sha256-"), strings.HasPrefix(v, "SHA256:"):
		return true
	case strings.HasPrefix(v, "MII"), strings.HasPrefix(v, "LS0tLS1CRUdJTi"), strings.HasPrefix(v, "AgA") && len(v) > 300, strings.HasPrefix(v, "AAAAB3Nza"), strings.HasPrefix(v, "AAAAC3Nza"), strings.HasPrefix(v, "AAAAE2Vj"):
		return true // a certificate or public key; private ones are found by structure
	}
	return strings.HasSuffix(v, ".svc") || strings.HasSuffix(v, ".local") || strings.HasSuffix(v, ".com") || strings.HasSuffix(v, ".pem") || strings.HasSuffix(v, ".key") || strings.HasSuffix(v, ".json") || strings.HasSuffix(v, ".yaml") || strings.HasSuffix(v, ".txt") || strings.HasSuffix(v, ".jks") || strings.HasSuffix(v, ".crt")
}

func uuid(v string) bool {
	if len(v) != 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
		return false
	}
	return strings.Count(v, "-") == 4 && run(strings.ToLower(strings.ReplaceAll(v, "-", "")), 0, lowerHex, 32) == 32
}

// code reports whether a value looks like an expression of a program.
func code(v string) bool {
	if strings.ContainsAny(v, "(){}[]<>;") || strings.Contains(v, "::") || strings.Contains(v, "->") || strings.Contains(v, "=>") || strings.HasSuffix(v, ",") {
		return true
	}
	_, _, digit, other := mix(strings.TrimRight(v, "!?"))
	return !digit && !other // identifiers, with dots or without
}

// pronounced reports whether the parts between dashes and dots are words with at
// most a short number: the name of an object.
func pronounced(v string) bool {
	for _, w := range strings.FieldsFunc(v, func(r rune) bool { return r == '-' || r == '.' || r == '_' || r == '/' }) {
		vowels, letters, digitsHere := 0, 0, 0
		for i := range len(w) {
			switch c := w[i]; {
			case c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' || c == 'y':
				vowels++
				letters++
			case c >= 'a' && c <= 'z':
				letters++
			default:
				digitsHere++
			}
		}
		if digitsHere > 2 && letters > 0 || letters > 4 && vowels*6 < letters || len(w) > 20 {
			return false
		}
	}
	return true
}

func count(bs ...bool) int {
	n := 0
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

// unbase64 decodes what may be base64, of the standard alphabet, padded or not.
func unbase64(s string) (string, bool) {
	s = strings.TrimRight(s, "=")
	if len(s) < 4 || len(s) > maxPart || run(s, 0, base64std, len(s)) != len(s) {
		return "", false
	}
	raw, err := base64.RawStdEncoding.DecodeString(s)
	return string(raw), err == nil
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\n' && s[i] != '\t' && s[i] != '\r' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
