package leak

import "strings"

// secretName reports whether a name is that of a secret's value: its last word,
// or its last two, says so. A name of something about a secret (its file, its
// length, its URL) is none.
func secretName(name string) (is, password bool) {
	if len(name) > 128 {
		name = name[len(name)-128:]
	}
	if !mayBeSecret(name) {
		return false, false
	}
	words := split(name)
	for len(words) > 0 && trailing[words[len(words)-1]] {
		words = words[:len(words)-1]
	}
	if len(words) == 0 {
		return false, false
	}
	last := words[len(words)-1]
	before := ""
	if len(words) > 1 {
		before = words[len(words)-2]
	}
	for _, w := range words {
		if aboutSecret[w] {
			return false, false
		}
	}
	switch last {
	case "password", "passwd", "passphrase", "pwd", "pw", "pass", "passcode", "passwort", "psk", "requirepass", "masterauth":
		return true, true
	case "secret", "token", "apikey", "credential", "credentials", "creds", "secretkey", "accesskey", "privatekey", "apitoken", "authtoken", "accesstoken", "clientsecret", "connectionstring", "bearer", "jwt", "sas":
		return true, false
	case "key":
		return keyWords[before], false
	case "string":
		return before == "connection", false
	}
	for _, tail := range [...]string{"password", "passwd", "passphrase"} {
		if strings.HasSuffix(last, tail) {
			return true, true
		}
	}
	if strings.HasSuffix(last, "pass") && last != "bypass" && last != "compass" && last != "encompass" && last != "trespass" && last != "overpass" && last != "onepass" {
		return true, true
	}
	for _, tail := range [...]string{"secret", "token", "apikey", "pwd"} {
		if strings.HasSuffix(last, tail) {
			return true, tail == "pwd"
		}
	}
	return false, false
}

var keyWords = set("api", "secret", "access", "private", "encryption", "signing", "signature", "auth", "account", "master", "shared", "session", "storage", "service", "cookie", "hmac", "license", "licence", "app", "application", "client", "subscription", "deploy", "token")

// trailing words say how the value is written, or which of several it is.
var trailing = set("value", "base64", "b64", "text", "default", "plain", "plaintext", "raw", "encoded", "old", "new", "prod", "production", "dev", "staging", "test", "primary", "secondary", "override", "1", "2", "3", "4", "5")

// aboutSecret words before that of a secret say that it is a setting about it, or
// something that everybody may know. Those behind it need no list: the last word counts.
var aboutSecret = set("existing", "csrf", "xsrf", "public", "pub", "hash", "hashed", "encrypted", "sealed", "reset", "forgot", "validate", "validation", "require", "required", "allow", "enable", "enabled", "disable", "use", "is", "has", "min", "max", "next", "continue", "page", "pull", "image", "partition", "sort", "foreign", "no", "invalid", "wrong", "missing", "bad", "confirm", "repeat", "enter", "show", "hide", "change", "update", "create", "delete", "get", "set", "with", "without")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// mayBeSecret is a cheap look for the beginnings of the words that secretName knows.
func mayBeSecret(name string) bool {
	for i := 0; i+2 < len(name); i++ {
		switch uint32(name[i]|0x20)<<16 | uint32(name[i+1]|0x20)<<8 | uint32(name[i+2]|0x20) {
		case 'p'<<16 | 'a'<<8 | 's', 'p'<<16 | 'w'<<8 | 'd', 'p'<<16 | 's'<<8 | 'k', 's'<<16 | 'e'<<8 | 'c', 's'<<16 | 'a'<<8 | 's', 't'<<16 | 'o'<<8 | 'k', 'k'<<16 | 'e'<<8 | 'y',
			'c'<<16 | 'r'<<8 | 'e', 'b'<<16 | 'e'<<8 | 'a', 'j'<<16 | 'w'<<8 | 't', 's'<<16 | 't'<<8 | 'r', 'm'<<16 | 'a'<<8 | 's':
			return true
		}
	}
	n := len(name)
	return n >= 2 && strings.EqualFold(name[n-2:], "pw")
}

// split gives the words of a name in lower case: dbPassword, DB_PASSWORD and
// db.password all are db, password. A number at the end is a word of its own.
func split(name string) []string {
	var out []string
	begin := 0
	flush := func(end int) {
		if end > begin {
			w := strings.ToLower(name[begin:end])
			if t := strings.TrimRight(w, "0123456789"); t != "" && t != w && t != "sha" && t != "md" && t != "base" && t != "b" {
				w = t
			}
			out = append(out, w)
		}
	}
	for i := range len(name) {
		c := name[i]
		upper := c >= 'A' && c <= 'Z'
		switch {
		case classes[c]&alnum == 0:
			flush(i)
			begin = i + 1
		case upper && i > begin && name[i-1] >= 'a' && name[i-1] <= 'z':
			flush(i)
			begin = i
		case upper && i > begin && i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z' && name[i-1] >= 'A' && name[i-1] <= 'Z':
			flush(i)
			begin = i
		}
	}
	flush(len(name))
	return out
}
