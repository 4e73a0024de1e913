package redact

import (
	"strings"

	"bulwark.dev/bulwark"
)

// breadth says how much a name alone gives away.
type breadth uint8

const (
	// narrow is for fields of any object, where "secret" is mostly the name of one.
	narrow breadth = iota
	// broad is for what people name themselves: environment, ConfigMaps, flags, text.
	broad
)

// sensitive reports whether a name says that its value is a secret, such as
// DB_PASSWORD, clientSecret or --api-key.
func sensitive(name string, how breadth) bool {
	var buffer [80]byte
	if len(name) < 2 || len(name) > 512 {
		return false
	}
	// The end of the name decides; letters and digits alone count, in lower case.
	at, last := len(buffer), 0 // last: the length of the last word
	for i := len(name) - 1; i >= 0 && at > 0; i-- {
		c := name[i]
		if !alnum(c) {
			if last == 0 {
				last = len(buffer) - at
			}
			continue
		}
		upper := 'A' <= c && c <= 'Z'
		if upper {
			c += 'a' - 'A'
		}
		at--
		buffer[at] = c
		if last == 0 && upper && i > 0 && 'a' <= name[i-1] && name[i-1] <= 'z' {
			last = len(buffer) - at // a capital after a small letter begins a word
		}
	}
	compact := buffer[at:]
	if last == 0 {
		last = len(compact)
	}
	if sensitiveWord(string(compact[len(compact)-last:]), len(compact) > last, how) || sensitiveEnd(string(compact), how) {
		return true
	}
	if how == broad && (name == "pwd" || name == "pw" || name == "_auth") { // and not PWD
		return true
	}
	// What stands behind the name: DB_PASSWORD_2, API_TOKEN_PROD.
	bare := compact
	if last < len(compact) && qualifier(string(compact[len(compact)-last:])) {
		bare = compact[:len(compact)-last]
	}
	for len(bare) > 0 && digit(bare[len(bare)-1]) {
		bare = bare[:len(bare)-1]
	}
	if len(bare) == len(compact) || len(bare) == 0 {
		return false
	}
	return sensitiveEnd(string(bare), how) || how == narrow && strings.HasSuffix(string(bare), "token")
}

// qualifier reports whether a name's last word only says which one of several it is.
func qualifier(word string) bool {
	switch word {
	case "prod", "production", "stage", "staging", "dev", "test", "old", "new", "current", "previous", "primary", "secondary",
		"b64", "base64", "encoded", "plain", "plaintext", "raw", "text", "string", "value":
		return true
	}
	return false
}

// sensitiveWord looks at a name's last word.
func sensitiveWord(word string, more bool, how breadth) bool {
	switch word {
	case "password", "passwd", "passphrase", "passcode", "token", "jwt":
		return true
	case "pwd", "pw":
		return more // PWD is where a shell stands
	case "pass", "cred", "creds", "credential", "credentials", "secret", "authorization", "cookie", "dsn":
		return how == broad
	}
	return false
}

// endsAsSecret reports whether a name ends as those of secrets do.
func endsAsSecret(compact string) bool {
	switch compact[len(compact)-1] {
	case 'a':
		return ends(compact, "clientkeydata")
	case 'd':
		return ends(compact, "password", "passwd")
	case 'e':
		return ends(compact, "passphrase", "secretkeybase", "motdepasse")
	case 'h':
		return ends(compact, "masterauth")
	case 'n':
		return ends(compact,
			"authtoken", "accesstoken", "bearertoken", "refreshtoken", "idtoken", "apitoken", "sessiontoken", "securitytoken", "identitytoken",
			"dockerconfigjson",
		)
	case 'r':
		return ends(compact, "oauth2bearer")
	case 's':
		return ends(compact, "requirepass", "storepass", "keypass", "passwords", "apikeys", "secretkeys", "accesstokens", "authtokens")
	case 't':
		return ends(compact, "clientsecret", "sharedsecret", "consumersecret", "jwtsecret", "hmacsecret", "generatedsecret", "passwort", "kennwort")
	case 'w':
		return ends(compact, "bindpw", "rootpw")
	case 'y':
		return ends(compact,
			"apikey", "secretkey", "privatekey", "accesskey", "accountkey", "secretaccesskey", "sharedaccesskey", "encryptionkey", "signingkey",
			"masterkey", "authkey", "licensekey", "presharedkey", "unsealkey",
		)
	}
	return false
}

func ends(name string, with ...string) bool {
	for _, end := range with {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// sensitiveEnd looks at how a name ends, wherever its words begin: names in capitals
// do not tell.
func sensitiveEnd(compact string, how breadth) bool {
	if compact == "" {
		return false
	}
	if endsAsSecret(compact) {
		// The field secretKey mostly names a key within a Secret.
		return how == broad || compact != "secretkey"
	}
	if how != broad {
		return false
	}
	switch {
	case strings.HasSuffix(compact, "token"):
		return true
	case strings.HasSuffix(compact, "secret"):
		// These say which Secret, and not what is in it.
		for _, end := range [...]string{"pullsecret", "tlssecret", "certsecret", "certificatesecret", "existingsecret", "secretsecret", "authsecret"} {
			if strings.HasSuffix(compact, end) {
				return false
			}
		}
		return true
	case ends(compact, "connectionstring", "proxyauthorization", "sessionid", "appkey", "fernetkey", "redisauth"):
		return true
	}
	return false
}

// secretFile reports whether a file of that name is a secret as a whole.
func secretFile(name string) bool {
	lower := strings.ToLower(name)
	for _, end := range [...]string{".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".keytab", ".htpasswd", ".pgpass", ".netrc", ".dockercfg", ".dockerconfigjson", ".git-credentials"} {
		if strings.HasSuffix(lower, end) {
			return true
		}
	}
	switch lower {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "htpasswd", "pgpass", "netrc", "krb5.keytab":
		return true
	}
	return false
}

// worth reports whether a value can be a secret at all, and not a reference to one, a
// switch or nothing.
func worth(value string) bool {
	v := strings.TrimSpace(value)
	switch {
	case len(v) == 0, v == bulwark.Redacted:
		return false
	case len(v) > 2 && v[0] == '$' && (v[1] == '(' && v[len(v)-1] == ')' || v[1] == '{' && v[len(v)-1] == '}'):
		return strings.ContainsAny(v[2:len(v)-1], "){} :")
	case strings.HasPrefix(v, "{{") && strings.HasSuffix(v, "}}"):
		return false
	}
	if v[0] == '/' {
		for _, dir := range [...]string{"/etc/", "/var/", "/run/", "/secrets/", "/mnt/", "/opt/", "/home/", "/tmp/", "/vault/"} {
			if strings.HasPrefix(v, dir) {
				return false // where a secret is
			}
		}
	}
	if len(v) > len("disabled") {
		return true
	}
	switch strings.ToLower(v) {
	case "true", "false", "yes", "no", "on", "off", "null", "nil", "none", "~", "0", "1", "enabled", "disabled", `""`, "''":
		return false
	}
	return true
}

func alnum(c byte) bool {
	return c|0x20-'a' < 26 || c-'0' < 10 // bytes wrap around
}
