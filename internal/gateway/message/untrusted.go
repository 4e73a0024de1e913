package message

import "strings"

// Untrusted reports whether a field of that name (lower-case) from outside is
// dropped: it claims who the caller is, where it came from or what it asked
// for, which only the gateway may say. Servers that map fields to environment
// variables read "_" and some also "." like "-", so the name is judged with
// both folded.
func Untrusted(name string) bool {
	if len(name) < 5 {
		return false
	}
	if strings.IndexByte(name, '_') >= 0 || strings.IndexByte(name, '.') >= 0 {
		name = fold.Replace(name)
		if routesOrFrames(name) {
			return true
		}
	}
	switch name[0] {
	case 'a':
		return name == "audit-id" // by which API servers join their records
	case 'x':
		return name[1] == '-' && untrustedX(name)
	case 'f':
		return name == "forwarded"
	case 'p':
		return name == "proxy" // httpoxy, CVE-2016-5385
	case 'r':
		return strings.HasPrefix(name, "remote-") // Remote-User, Remote-Groups …
	case 't':
		return name == "true-client-ip"
	case 'c':
		return name == "client-ip" || name == "cf-connecting-ip" || name == "client-cert" || name == "client-cert-chain"
	case 's':
		return strings.HasPrefix(name, "ssl-client-")
	case 'i':
		return strings.HasPrefix(name, "impersonate-")
	}
	return false
}

// routesOrFrames reports whether a field is one that the gateway itself judges:
// another spelling of it would reach such a server unjudged.
func routesOrFrames(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "content-type", "content-encoding", "connection", "keep-alive", "upgrade", "expect", "trailer",
		"authorization", "proxy-authorization", "proxy-connection", "x-api-key", "cookie", "accept-encoding", "if-match", "user-agent":
		return true
	}
	return false
}

var fold = strings.NewReplacer("_", "-", ".", "-")

func untrustedX(name string) bool {
	switch name {
	case "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-originating-ip", "x-remote-ip", "x-remote-addr",
		"x-original-url", "x-original-uri", "x-original-host", "x-original-method", "x-rewrite-url", "x-host", "x-http-host-override",
		"x-http-method", "x-http-method-override", "x-method-override",
		"x-request-id", "x-user", "x-username", "x-user-id", "x-email", "x-groups", "x-roles", "x-webauth-user", "x-authenticated-user",
		"x-authenticated-userid", "x-authenticated-groups", "x-consumer-id", "x-consumer-username", "x-ssl-client-cert":
		return true
	}
	for _, p := range untrustedPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

var untrustedPrefixes = []string{"x-forwarded-", "x-auth-request-", "x-remote-", "x-bulwark-", "x-ssl-client-", "x-client-cert"}
