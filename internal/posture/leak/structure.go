package leak

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// structures gives the anchors of credentials that are told by decoding them.
func structures() []anchor {
	return append(connections(), []anchor{
		{"AKIA", true, awsKey},
		{"ASIA", true, awsKey},
		{"eyJ", true, jwt},
		{"-----BEGIN ", false, pem},
		{"LS0tLS1CRUdJTi", true, pemBase64},
		{"PuTTY-User-Key-File-", true, putty},
		{"://", false, urlPassword},
		{"Basic ", true, basic},
		{"basic ", true, basic},
		{"Bearer ", true, bearer},
		{`"auth"`, false, registryAuth},
		{"AccountKey=", true, azureKey("AccountKey=", "an Azure storage key")},
		{"SharedAccessKey=", true, azureKey("SharedAccessKey=", "an Azure shared access key")},
		{"7Q~", false, azureSecret},
		{"8Q~", false, azureSecret},
		{"hooks.slack.com/services/T", false, slackHook},
		{"discord.com/api/webhooks/", false, discordHook},
		{":AA", false, telegram},
		{"T3BlbkFJ", false, openAI},
	}...)
}

// awsKey is an access key id: no secret by itself, and one with the secret key
// beside it.
func awsKey(s *source, at int) (hit, bool) {
	text := s.text
	end := s.run(at, upperBase32, 21)
	if end-at != 20 || end < len(text) && classes[text[end]]&alnum != 0 || madeUp(text[at:end]) || entropy(text[at+4:end]) < 2.5 {
		return hit{}, false
	}
	near := text[max(0, at-200):min(len(text), end+200)]
	s.look(len(near))
	for i := 0; i < len(near); i++ {
		j := run(near, i, base64std, len(near))
		if j-i == 40 && awsSecret(near[i:j]) {
			return hit{"an AWS access key with its secret", high, at, end, end - at}, true
		}
		i = max(i, j)
	}
	return hit{"an AWS access key id", low, at, end, end - at}, true
}

func awsSecret(s string) bool {
	lower, upper, digit, _ := mix(s)
	return len(s) == 40 && lower && upper && digit && !madeUp(s) && entropy(s) >= 4
}

// maxPart is how much of a text is decoded at once.
const maxPart = 16 << 10

// jwt is a signed token: a header that decodes to JSON with an algorithm.
func jwt(s *source, at int) (hit, bool) {
	text := s.text
	end := s.run(at, base64url, maxPart)
	header, ok := jsonPart(text[at:end])
	if !ok {
		return hit{end: end}, false
	}
	if end >= len(text) || text[end] != '.' {
		if _, isKey := header["k"].(string); isKey && header["n"] != nil {
			return hit{"a Grafana API key", high, at, end, end - at}, true
		}
		return hit{}, false
	}
	if alg, isText := header["alg"].(string); !isText || alg == "" {
		return hit{}, false
	}
	second := end + 1
	end = s.run(second, base64url, maxPart)
	claims, _ := jsonPart(text[second:end])
	// What is found to be none is passed over up to here: whoever looks again from each
	// of its parts never ends.
	if _, encrypted := header["enc"]; claims == nil && !encrypted {
		return hit{end: second}, false
	}
	if sub, _ := claims["sub"].(string); sub == "1234567890" { // the one of all documents
		return hit{end: end}, false
	}
	for parts := 2; parts < 5 && end < len(text) && text[end] == '.'; parts++ {
		end = s.run(end+1, base64url, maxPart)
	}
	_, bound := claims["kubernetes.io"]
	if iss, _ := claims["iss"].(string); bound || strings.HasPrefix(iss, "kubernetes/") {
		return hit{"a token of a Kubernetes ServiceAccount", high, at, end, end - at}, true
	}
	if _, noKey := header["alg"].(string); noKey && header["alg"] == "none" {
		return hit{"an unsigned JSON web token", low, at, end, end - at}, true
	}
	return hit{"a signed JSON web token", medium, at, end, end - at}, true
}

func jsonPart(part string) (map[string]any, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, false
	}
	var out map[string]any
	if json.Unmarshal(raw, &out) != nil || out == nil {
		return nil, false
	}
	return out, true
}

// pem is a private key between its lines, also where line ends are written as \n.
func pem(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len("-----BEGIN ")
	head := text[begin:min(len(text), begin+64)]
	label, _, ok := strings.Cut(head, "-----")
	if !ok || !strings.HasSuffix(label, "PRIVATE KEY") && label != "PGP PRIVATE KEY BLOCK" {
		return hit{}, false
	}
	body := begin + len(label) + 5
	part := text[body:min(len(text), body+2*maxPart)]
	end := strings.Index(part, "-----") // of the end, or of another beginning
	if end < 0 {
		end = len(part)
	}
	s.look(end)
	end += body
	// A key has at least 32 bytes; documents write "…" in its place.
	n, other := 0, 0
	part = text[body:min(end, body+4096)]
	for i := range len(part) {
		switch c := classes[part[i]]; {
		case c&base64std != 0:
			n++
		case part[i] > ' ' && !strings.ContainsRune(`\":,-`, rune(part[i])):
			other++
		}
	}
	if n < 40 || other > n/10 || madeUp(part[:min(len(part), 80)]) {
		return hit{}, false
	}
	kind, severity := "a private key", high
	if strings.HasPrefix(label, "ENCRYPTED") || strings.Contains(part[:min(len(part), 200)], "ENCRYPTED") {
		kind, severity = "an encrypted private key", low
	}
	if before := text[max(0, at-400):at]; strings.Contains(before, `"service_account"`) || strings.Contains(before, `"private_key_id"`) {
		kind = "a key of a Google Cloud service account"
	}
	return hit{kind, severity, at, end, end - at}, true
}

// pemBase64 is a private key in base64, as in a kubeconfig. The first letters of
// the label are enough to tell it from a certificate.
func pemBase64(s *source, at int) (hit, bool) {
	text := s.text
	end := s.run(at, base64std, maxPart)
	raw, err := base64.StdEncoding.DecodeString(text[at : at+(end-at)&^3])
	if err != nil || !strings.HasPrefix(string(raw), "-----BEGIN ") {
		return hit{end: end}, false
	}
	h, ok := pem(&source{text: string(raw)}, 0)
	if !ok {
		return hit{end: end}, false
	}
	h.at, h.end, h.length = at, end, end-at
	if strings.Contains(text[max(0, at-100):at], "client-key-data") {
		h.kind = "a kubeconfig with a client key"
	} else {
		h.kind += " in base64"
	}
	return h, true
}

func putty(s *source, at int) (hit, bool) {
	text := s.text
	const publicPart = 4096
	end := min(len(text), at+publicPart)
	s.look(end - at)
	if !strings.Contains(text[at:end], "Private-Lines:") {
		return hit{}, false
	}
	return hit{"a PuTTY private key", high, at, end, end - at}, true
}

// urlPassword is a URL with user and password: scheme://user:password@host.
func urlPassword(s *source, at int) (hit, bool) {
	text := s.text
	begin := at
	for begin > 0 && at-begin < 24 && (classes[text[begin-1]]&alnum != 0 || text[begin-1] == '+' || text[begin-1] == '-') {
		begin--
	}
	if begin == at {
		return hit{}, false
	}
	user := at + 3
	rest := text[user:min(len(text), user+512)]
	if i := strings.IndexAny(rest, "/?#\"'<>`, \t\r\n|\\"); i >= 0 {
		rest = rest[:i]
	}
	s.look(len(rest))
	i := strings.LastIndexByte(rest, '@')
	if i <= 0 || i == len(rest)-1 {
		return hit{}, false
	}
	_, password, ok := strings.Cut(rest[:i], ":")
	if !ok || reference(password, false) || madeUp(password) || len(password) < 2 {
		return hit{}, false
	}
	switch strings.ToLower(password) {
	case "password", "pass", "passwd", "pwd", "secret", "token", "port": // how documents write it
		if host := strings.ToLower(rest[i+1:]); strings.HasPrefix(host, "host") || strings.HasPrefix(host, "example") || strings.HasPrefix(host, "server") {
			return hit{}, false
		}
		return hit{"a URL with a well-known password", low, begin, user + i, len(password)}, true
	}
	if wellKnown(password) {
		return hit{"a URL with a well-known password", low, begin, user + i, len(password)}, true
	}
	return hit{"a URL with a password", high, begin, user + i, len(password)}, true
}

// basic is a header of HTTP basic authentication.
func basic(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len("Basic ")
	end := s.run(begin, base64std, 1024)
	user, password, ok := login(text[begin:end])
	if !ok || user == "" || reference(password, false) || madeUp(password) {
		return hit{}, false
	}
	if wellKnown(password) {
		return hit{"a basic authentication header with a well-known password", low, at, end, end - begin}, true
	}
	return hit{"a basic authentication header", high, at, end, end - begin}, true
}

// login decodes base64 of user:password.
func login(s string) (user, password string, ok bool) {
	raw, ok := unbase64(s)
	if !ok || !printable(raw) {
		return "", "", false
	}
	user, password, ok = strings.Cut(raw, ":")
	return user, password, ok && password != "" && !strings.ContainsAny(user, " \n\t")
}

func bearer(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len("Bearer ")
	if strings.HasPrefix(text[begin:], "eyJ") {
		return jwt(s, begin)
	}
	end := s.run(begin, base64std|base64url|dot, 1024)
	value := text[begin:end]
	if lower, upper, digit, _ := mix(value); len(value) < 20 || !digit || !lower && !upper || madeUp(value) || entropy(value) < 3.3 || uuid(value) {
		return hit{}, false
	}
	return hit{"a bearer token", medium, at, end, end - begin}, true
}

// registryAuth is the login of a registry in the configuration of docker.
func registryAuth(s *source, at int) (hit, bool) {
	text := s.text
	i := at + len(`"auth"`)
	end := min(len(text), i+16)
	for i < end && (text[i] == ' ' || text[i] == ':' || text[i] == '\n' || text[i] == '\t') {
		i++
	}
	if i >= len(text) || text[i] != '"' {
		return hit{}, false
	}
	begin := i + 1
	stop := s.run(begin, base64std, 8192)
	user, password, ok := login(text[begin:stop])
	if !ok || user == "" || reference(password, false) || madeUp(password) {
		return hit{}, false
	}
	return hit{"the login of a registry", high, at, stop, stop - begin}, true
}

// azureKey is a key within a connection string: base64 of 32 or 64 bytes.
func azureKey(prefix, kind string) func(*source, int) (hit, bool) {
	return func(s *source, at int) (hit, bool) {
		text := s.text
		begin := at + len(prefix)
		end := s.run(begin, base64std, 128)
		raw, err := base64.StdEncoding.DecodeString(text[begin:end])
		if err != nil || len(raw) != 32 && len(raw) != 64 || madeUp(text[begin:end]) || entropy(text[begin:end]) < 4 {
			return hit{}, false
		}
		return hit{kind, high, at, end, end - begin}, true
	}
}

// azureSecret is a client secret of Entra ID: three characters, a digit, Q~ and 31
// to 34 more.
func azureSecret(s *source, at int) (hit, bool) {
	text := s.text
	begin := at - 3
	if begin < 0 || !boundary(text, begin) {
		return hit{}, false
	}
	end := at + 3
	for end < len(text) && end-at < 40 && (classes[text[end]]&(base64url|dot) != 0 || text[end] == '~') {
		end++
	}
	if n := end - at - 3; n < 31 || n > 34 || strings.ContainsAny(text[begin:at], " \n\"'=:") || madeUp(text[begin:end]) || entropy(text[begin:end]) < 3.5 {
		return hit{}, false
	}
	return hit{"an Entra ID client secret", high, begin, end, end - begin}, true
}

func slackHook(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len("hooks.slack.com/services/")
	end := s.run(begin, nameByte|base64std, 120)
	parts := strings.Split(text[begin:end], "/")
	if len(parts) != 3 || len(parts[1]) < 8 || parts[1][0] != 'B' || len(parts[2]) < 20 || madeUp(parts[2]) || entropy(parts[2]) < 3 {
		return hit{}, false
	}
	return hit{"a Slack webhook address", medium, at, end, end - at}, true
}

func discordHook(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len("discord.com/api/webhooks/")
	id := s.run(begin, digits, 24)
	if id-begin < 17 || id >= len(text) || text[id] != '/' {
		return hit{}, false
	}
	end := s.run(id+1, base64url, 100)
	if end-id < 60 || madeUp(text[id+1:end]) {
		return hit{}, false
	}
	return hit{"a Discord webhook address", medium, at, end, end - at}, true
}

// telegram is a bot token: the bot's number, a colon, AA and 33 more.
func telegram(s *source, at int) (hit, bool) {
	text := s.text
	begin := at
	for begin > 0 && at-begin < 11 && classes[text[begin-1]]&digits != 0 {
		begin--
	}
	end := s.run(at+1, base64url, 36)
	if n := at - begin; n < 8 || n > 10 || end-at-1 != 35 || madeUp(text[at+1:end]) || entropy(text[at+1:end]) < 3.5 {
		return hit{}, false
	}
	return hit{"a Telegram bot token", high, begin, end, end - begin}, true
}

// openAI is the older form: sk-, 20 characters, a mark in the middle and 20 more.
func openAI(s *source, at int) (hit, bool) {
	text := s.text
	begin := max(0, at-200)
	s.look(at - begin)
	i := strings.LastIndex(text[begin:at], "sk-")
	if i < 0 {
		return hit{}, false
	}
	begin += i
	if s.run(begin, base64url, 300) < at+28 || !boundary(text, begin) {
		return hit{}, false
	}
	end := s.run(at, base64url, 100)
	return hit{"an OpenAI API key", high, begin, end, end - begin}, true
}
