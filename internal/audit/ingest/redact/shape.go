package redact

import (
	"encoding/base64"
	"strings"
)

// tokenAt gives the length of the secret that a text begins with, judging by its form
// alone, or 0. It knows tokens that say what they are, and nothing that is only long
// and random: hashes and UIDs are that, too.
func tokenAt(s string) int {
	switch s[0] {
	case 'e':
		return jwt(s)
	case 'A':
		for _, prefix := range [...]string{"AKIA", "ASIA"} {
			if n := prefixed(s, prefix, upper, 16, 16); n > 0 {
				return n
			}
		}
		if n := prefixed(s, "AIza", word, 35, 35); n > 0 {
			return n
		}
		return prefixed(s, "AGE-SECRET-KEY-1", upper, 50, 60)
	case 'g':
		return gitToken(s)
	case 'x':
		if len(s) > 5 && strings.HasPrefix(s, "xox") && s[4] == '-' {
			return prefixed(s, s[:5], word, 10, 0)
		}
		return prefixed(s, "xapp-", word, 20, 0)
	case 's', 'r':
		return serviceToken(s)
	case 'h':
		for _, prefix := range [...]string{"hvs.", "hvb.", "hvr."} {
			if n := prefixed(s, prefix, word, 20, 0); n > 0 {
				return n
			}
		}
		return prefixed(s, "hooks.slack.com/services/T", path, 20, 0)
	case 'n':
		return prefixed(s, "npm_", letter, 36, 36)
	case 'p':
		return prefixed(s, "pypi-AgE", word, 40, 0)
	case 'd':
		for _, prefix := range [...]string{"discord.com/api/webhooks/", "discordapp.com/api/webhooks/"} {
			if n := prefixed(s, prefix, path, 40, 0); n > 0 {
				return n
			}
		}
		for _, prefix := range [...]string{"dop_v1_", "doo_v1_", "dor_v1_", "dckr_pat_", "dckr_oat_"} {
			if n := prefixed(s, prefix, word, 20, 0); n > 0 {
				return n
			}
		}
	case 'y':
		return prefixed(s, "ya29.", word, 20, 0)
	case 'G':
		return prefixed(s, "GOCSPX-", word, 20, 0)
	case 'S':
		if n := prefixed(s, "SG.", word, 16, 0); n > 0 && n < len(s) && s[n] == '.' {
			if m := prefixed(s[n:], ".", word, 16, 0); m > 0 {
				return n + m
			}
		}
	case 'L':
		return encodedKey(s)
	case 'B', 'b':
		return scheme(s)
	}
	return 0
}

// webSocketProtocol stands before the token of a browser that opens a WebSocket.
const webSocketProtocol = "base64url.bearer.authorization.k8s.io."

// bootstrapID is how long the public part of a bootstrap token is.
const bootstrapID = 6

// bootstrapToken gives the length of a token as kubeadm makes them. One whose secret is
// a hexadecimal number is more likely the name of an Event.
func bootstrapToken(s string) int {
	const all = bootstrapID + 1 + 16
	if len(s) < all || s[bootstrapID] != '.' || len(s) > all && (word(s[all]) || s[all] == '.') {
		return 0
	}
	digits, beyond := false, false
	for i := range all {
		switch c := s[i]; {
		case i == bootstrapID:
		case digit(c):
			digits = digits || i > bootstrapID
		case 'a' <= c && c <= 'z':
			beyond = beyond || i > bootstrapID && c > 'f'
		default:
			return 0
		}
	}
	if !digits || !beyond {
		return 0
	}
	return all
}

// passwordHash gives the length of a hashed password as files of users have it.
func passwordHash(s string) int {
	if len(s) < 20 || s[0] != '$' {
		return 0
	}
	name, _, ok := strings.Cut(s[1:min(len(s), 20)], "$")
	if !ok {
		return 0
	}
	switch name {
	case "1", "5", "6", "7", "y", "gy", "2", "2a", "2b", "2x", "2y", "apr1", "argon2i", "argon2d", "argon2id", "scrypt", "pbkdf2-sha256", "pbkdf2-sha512":
	default:
		return 0
	}
	n := run(s, func(c byte) bool { return alnum(c) || strings.IndexByte("$./,=+-", c) >= 0 })
	if n < 24 || strings.Count(s[:n], "$") < 3 {
		return 0
	}
	return n
}

func gitToken(s string) int {
	if len(s) > 4 && s[1] == 'h' && s[3] == '_' && strings.IndexByte("pousr", s[2]) >= 0 {
		return prefixed(s, s[:4], letter, 30, 0)
	}
	for _, prefix := range [...]string{"github_pat_", "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glagent-"} {
		if n := prefixed(s, prefix, word, 20, 0); n > 0 {
			return n
		}
	}
	return 0
}

func serviceToken(s string) int {
	for _, prefix := range [...]string{"sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk-ant-"} {
		if n := prefixed(s, prefix, word, 16, 0); n > 0 {
			return n
		}
	}
	if n := prefixed(s, "sk-", word, 20, 0); n > 0 && mixed(s[3:n]) {
		return n
	}
	if n := prefixed(s, "s.", letter, 24, 24); n > 0 && mixed(s[2:n]) {
		return n
	}
	return 0
}

// jwt wants a header, which is an object and so begins with eyJ, claims, and a
// signature, which may be empty. A detached signature has no claims.
func jwt(s string) int {
	header := prefixed(s, "eyJ", word, 8, 0)
	if header == 0 || header >= len(s) || s[header] != '.' {
		return 0
	}
	claims := run(s[header+1:], word)
	end := header + 1 + claims
	if claims < 4 || end >= len(s) || s[end] != '.' {
		return 0
	}
	return end + 1 + run(s[end+1:], word)
}

// encodedKey finds a private key in PEM that is in base64 once more.
func encodedKey(s string) int {
	if !strings.HasPrefix(s, "LS0tLS1CRUdJTi") {
		return 0
	}
	n := run(s, base)
	head := s[:min(n, 96)/4*4]
	text, err := base64.StdEncoding.DecodeString(head)
	if err != nil || !strings.Contains(string(text), "PRIVATE KEY") {
		return 0
	}
	return n
}

// scheme finds what follows an authorization scheme.
func scheme(s string) int {
	name, rest, ok := strings.Cut(s[:min(len(s), 8)], " ")
	if !ok {
		return 0
	}
	from := len(s[:min(len(s), 8)]) - len(rest)
	switch {
	case strings.EqualFold(name, "bearer"):
		if n := run(s[from:], base); n >= 16 && mixed(s[from:from+n]) {
			return from + n
		}
	case strings.EqualFold(name, "basic"):
		n := run(s[from:], base)
		text, err := base64.StdEncoding.DecodeString(s[from : from+n])
		if n >= 8 && err == nil && strings.IndexByte(string(text), ':') >= 0 {
			return from + n
		}
	}
	return 0
}

// prefixed gives the length of prefix and what follows it, if that is no fewer than
// least bytes of a class and, where most is given, no more than most.
func prefixed(s, prefix string, class func(byte) bool, least, most int) int {
	if !strings.HasPrefix(s, prefix) {
		return 0
	}
	n := run(s[len(prefix):], class)
	if n < least || most > 0 && n > most {
		return 0
	}
	return len(prefix) + n
}

// run is how many bytes of a class a text begins with.
func run(s string, class func(byte) bool) int {
	n := 0
	for n < len(s) && class(s[n]) {
		n++
	}
	return n
}

func letter(c byte) bool { return alnum(c) }
func word(c byte) bool   { return alnum(c) || c == '_' || c == '-' }
func upper(c byte) bool  { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' }
func path(c byte) bool   { return word(c) || c == '/' }
func base(c byte) bool {
	return word(c) || c == '+' || c == '/' || c == '=' || c == '.' || c == '~'
}

// mixed reports whether there is a digit, and a capital or a sign: words of prose and
// names of objects have not both.
func mixed(s string) bool {
	digit, odd := false, false
	for i := range len(s) {
		digit = digit || '0' <= s[i] && s[i] <= '9'
		odd = odd || 'A' <= s[i] && s[i] <= 'Z' || s[i] == '+' || s[i] == '=' || s[i] == '/'
	}
	return digit && odd
}
