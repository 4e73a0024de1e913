package redact

import (
	"net/url"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
)

// redactURI takes the secrets out of a request's address: tokens in its path, values
// of sensitive names in its query, and what commands are given.
func redactURI(uri string) (string, bool) {
	path, query, _ := strings.Cut(uri, "?")
	changed := false
	if unusual(path) {
		if clean, ok := redactPath(path); ok {
			path, changed = clean, true
		}
	}
	if query != "" {
		if clean, ok := redactQuery(query); ok {
			query, changed = clean, true
		}
	}
	if !changed {
		return uri, false
	}
	if query != "" {
		path += "?" + query
	}
	return path, true
}

// unusual reports whether a path has what no path to an object of Kubernetes has, and
// every token.
func unusual(path string) bool {
	for i := range len(path) {
		if c := path[i]; c-'a' >= 26 && c-'-' > '9'-'-' { // small letters, and - . / 0 to 9, which are in one row
			return true
		}
	}
	return false
}

func redactPath(path string) (string, bool) {
	parts := strings.Split(path, "/")
	changed := false
	for i, part := range parts {
		text := unescape(part, false)
		if found := scan(text, looking{assigned: true}); len(found) > 0 {
			parts[i], changed = url.PathEscape(cut(text, found)), true
		}
	}
	if !changed { // a URL with a password in the path has slashes of its own
		text := unescape(path, false)
		if found := scan(text, looking{}); len(found) > 0 {
			return (&url.URL{Path: cut(text, found)}).EscapedPath(), true
		}
	}
	return strings.Join(parts, "/"), changed
}

// redactQuery looks at each parameter. Those that have nothing to hide stay as they
// were, byte for byte.
func redactQuery(query string) (string, bool) {
	var parts, words []string
	var commands []int
	changed := false
	for i, rest := 0, query; ; i++ {
		part, after, more := rest, "", false
		if at := strings.IndexByte(rest, '&'); at >= 0 {
			part, after, more = rest[:at], rest[at+1:], true
		}
		key, value := part, ""
		if at := strings.IndexByte(part, '='); at >= 0 {
			key, value = part[:at], part[at+1:]
		}
		if clean, isCommand, ok := parameter(key, value); isCommand {
			if parts == nil {
				parts = strings.Split(query, "&")
			}
			commands, words = append(commands, i), append(words, unescape(value, true))
		} else if ok {
			if parts == nil {
				parts = strings.Split(query, "&")
			}
			parts[i], changed = key+"="+url.QueryEscape(clean), true
		}
		if rest = after; !more {
			break
		}
	}
	if len(commands) > 0 && redactWords(words) {
		for i, at := range commands {
			key, value, _ := strings.Cut(parts[at], "=")
			if words[i] != unescape(value, true) {
				parts[at], changed = key+"="+url.QueryEscape(words[i]), true
			}
		}
	}
	if !changed {
		return query, false
	}
	return strings.Join(parts, "&"), true
}

// parameter gives a value without its secrets, or says that it is a command's word.
func parameter(key, value string) (clean string, isCommand, changed bool) {
	switch key {
	case "command", "cmd":
		return "", true, false
	case "watch", "timeout", "timeoutSeconds", "limit", "continue", "resourceVersion", "resourceVersionMatch", "allowWatchBookmarks",
		"sendInitialEvents", "fieldManager", "fieldValidation", "dryRun", "force", "pretty", "propagationPolicy",
		"gracePeriodSeconds", "container", "stdin", "stdout", "stderr", "tty", "follow", "tailLines", "previous", "timestamps", "sinceSeconds":
		if len(value) < 40 || key == "continue" {
			return "", false, false // by far the most
		}
	}
	name, text := unescape(key, true), unescape(value, true)
	switch name {
	case "command", "cmd":
		return "", true, false
	case "fieldSelector", "labelSelector":
		found := scan(text, looking{})
		return cut(text, found), false, len(found) > 0
	case "sig", "signature", "assertion", "client_assertion", "auth", "code_verifier", "X-Amz-Signature", "X-Goog-Signature", "SAMLResponse":
		return bulwark.Redacted, false, worth(text)
	}
	if (sensitive(name, broad) || headerName(name)) && worth(text) {
		return bulwark.Redacted, false, true
	}
	if inspect(text, plain, broad, 0) == secretJSON {
		return bulwark.Redacted, false, true
	}
	found := scan(text, looking{assigned: true, names: broad})
	return cut(text, found), false, len(found) > 0
}

// redactWords takes the secrets out of a command in place.
func redactWords(words []string) bool {
	found := make([][]span, len(words))
	args(words, 0, func(word, from, to int) { found[word] = append(found[word], span{from, to}) })
	changed := false
	for i, w := range slices.Clone(words) {
		if inspect(w, plain, broad, 0) == secretJSON || manifest(w) {
			words[i], changed = bulwark.Redacted, true
		} else if spans := merge(scan(w, looking{assigned: true, names: broad}), found[i]); len(spans) > 0 {
			words[i], changed = cut(w, spans), true
		}
	}
	return changed
}

// unescape decodes what is percent-encoded and leaves what is not, so that a secret
// is not hidden by an address that is wrong elsewhere.
func unescape(s string, query bool) string {
	if strings.IndexByte(s, '%') < 0 && (!query || strings.IndexByte(s, '+') < 0) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+' && query:
			out = append(out, ' ')
		case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
			out = append(out, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2]))) //nolint:gosec // two hex digits are a byte
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

func hexDigit(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
