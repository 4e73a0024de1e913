package leak

import (
	"strings"

	"bulwark.dev/bulwark"
)

// connections gives the anchors of logins that stand in the notation of one program.
func connections() []anchor {
	return []anchor{
		{"@tcp(", false, goDSN},
		{"@unix(", false, goDSN},
		{"jdbc:oracle:", true, oracle},
		{"machine ", true, netrc},
		{"_auth", false, npmAuth},
		{"sig=", true, azureSignature},
		{":APA91b", false, firebase},
		{".atlasv1.", false, terraform},
		{"curl ", true, curl},
		{"mysql", true, mysql},
		{"sshpass -p", true, sshpass},
	}
}

// judgePassword judges one that stands where a program takes a password, so that nothing
// but a placeholder is none. ok is false for those.
func judgePassword(kind, value string) (named string, severity bulwark.Severity, ok bool) {
	value = strings.Trim(value, "\"'")
	switch {
	case len(value) < 2 || reference(value, false) || madeUp(value) || settings[strings.ToLower(value)] && !wellKnown(value) || number(value):
		return "", 0, false
	case wellKnown(value):
		return kind + " with a well-known password", low, true
	}
	return kind + " with a password", high, true
}

// goDSN is how drivers of Go write a database: user:password@tcp(host:port)/name.
func goDSN(s *source, at int) (hit, bool) {
	const most = 128
	head := s.text[max(0, at-most):at]
	s.look(len(head))
	begin := at - len(head) + 1 + strings.LastIndexAny(head, " \t\r\n\"'`=,;/")
	_, value, ok := strings.Cut(s.text[begin:at], ":")
	kind, severity, found := judgePassword("a database address", value)
	if !ok || !found {
		return hit{}, false
	}
	return hit{kind, severity, begin, at, len(value)}, true
}

// oracle is jdbc:oracle:thin:user/password@host.
func oracle(s *source, at int) (hit, bool) {
	const most = 160
	rest := s.text[at:min(len(s.text), at+most)]
	s.look(len(rest))
	if i := strings.IndexAny(rest, " \t\r\n\"'`<>"); i >= 0 {
		rest = rest[:i]
	}
	login, _, ok := strings.Cut(rest, "@")
	user, value, both := strings.Cut(login, "/")
	kind, severity, found := judgePassword("a database address", value)
	if !ok || !both || !found || strings.HasSuffix(user, ":") {
		return hit{}, false
	}
	return hit{kind, severity, at, at + len(login), len(value)}, true
}

// netrc is a line, or a few, of the file of that name: machine, login and password.
func netrc(s *source, at int) (hit, bool) {
	const most = 300
	rest := s.text[at:min(len(s.text), at+most)]
	s.look(len(rest))
	if i := strings.Index(rest[1:], "machine "); i >= 0 {
		rest = rest[:i+1]
	}
	words := strings.Fields(rest)
	login := false
	for i := 2; i+1 < len(words); i += 2 {
		switch words[i] {
		case "login", "account":
			login = true
		case "password":
			kind, severity, ok := judgePassword("a .netrc login", words[i+1])
			if !ok || !login {
				return hit{}, false
			}
			return hit{kind, severity, at, at + strings.LastIndex(rest, words[i+1]) + len(words[i+1]), len(words[i+1])}, true
		default:
			return hit{}, false
		}
	}
	return hit{}, false
}

// npmAuth is the login of a registry in .npmrc: _auth=, with base64 of user:password.
func npmAuth(s *source, at int) (hit, bool) {
	i := at + len("_auth")
	mark := false
	for end := min(len(s.text), i+8); i < end && strings.IndexByte(" =:\"'", s.text[i]) >= 0; i++ {
		mark = mark || s.text[i] == '=' || s.text[i] == ':'
	}
	if !mark {
		return hit{}, false
	}
	end := s.run(i, base64std, 1024)
	user, value, ok := login(s.text[i:end])
	if _, _, found := judgePassword("", value); !ok || !found || user == "" {
		return hit{}, false
	}
	return hit{"the login of a registry", high, at, end, end - i}, true
}

// azureSignature is a shared access signature: an address that opens without a login.
func azureSignature(s *source, at int) (hit, bool) {
	const around, least = 300, 40
	begin := at + len("sig=")
	end := begin
	for end < len(s.text) && end-begin < 120 && (classes[s.text[end]]&(base64std|base64url) != 0 || s.text[end] == '%') {
		end++
	}
	near := s.text[max(0, at-around):min(len(s.text), end+around)]
	s.look(end - begin + len(near))
	if end-begin < least || !strings.Contains(near, "sv=20") || !strings.Contains(near, "se=") && !strings.Contains(near, "si=") || madeUp(s.text[begin:end]) || entropy(s.text[begin:end]) < 4 {
		return hit{}, false
	}
	return hit{"an Azure shared access signature", medium, at, end, end - begin}, true
}

func firebase(s *source, at int) (hit, bool) {
	begin := at
	for begin > 0 && at-begin < 12 && classes[s.text[begin-1]]&base64url != 0 {
		begin--
	}
	end := s.run(at+1, base64url, 200)
	if at-begin != 11 || end-at < 130 || madeUp(s.text[at:end]) {
		return hit{}, false
	}
	return hit{"a Firebase server key", high, begin, end, end - begin}, true
}

func terraform(s *source, at int) (hit, bool) {
	begin := at
	for begin > 0 && at-begin < 15 && classes[s.text[begin-1]]&alnum != 0 {
		begin--
	}
	tail := at + len(".atlasv1.")
	end := s.run(tail, base64url, 80)
	if at-begin != 14 || end-tail < 60 || end-tail > 70 || madeUp(s.text[tail:end]) || entropy(s.text[tail:end]) < 3.5 {
		return hit{}, false
	}
	return hit{"a Terraform token", high, begin, end, end - begin}, true
}

// option gives the word behind an option of a command, and where it stands. The
// command ends with its line.
func option(s *source, at int, names ...string) (value string, begin int) {
	const most = 300
	rest := s.text[at:min(len(s.text), at+most)]
	if i := strings.IndexAny(rest, "\n|;"); i >= 0 {
		rest = rest[:i]
	}
	s.look(len(rest))
	for _, name := range names {
		_, value, ok := strings.Cut(rest, name)
		if !ok || value == "" {
			continue
		}
		begin := at + len(rest) - len(value)
		if q := value[0]; q == '"' || q == '\'' {
			if quoted, _, ok := strings.Cut(value[1:], string(q)); ok {
				return quoted, begin + 1
			}
		}
		if i := strings.IndexAny(value, " \t\"'"); i >= 0 {
			value = value[:i]
		}
		return value, begin
	}
	return "", at
}

// curl takes user:password with -u.
func curl(s *source, at int) (hit, bool) {
	value, begin := option(s, at, " -u ", " --user ", " --user=", " -u")
	return userPassword(value, begin)
}

func userPassword(value string, begin int) (hit, bool) {
	user, secret, ok := strings.Cut(value, ":")
	kind, severity, found := judgePassword("a login", secret)
	if !ok || !found || user == secret || reference(user, false) && user != "" {
		return hit{}, false
	}
	return hit{kind, severity, begin, begin + len(value), len(secret)}, true
}

// mysql and its companions take the password with -p, without a space.
func mysql(s *source, at int) (hit, bool) {
	end := s.run(at, nameByte, 20)
	switch s.text[at:end] {
	case "mysql", "mysqldump", "mysqladmin", "mysqlimport":
	default:
		return hit{}, false
	}
	value, begin := option(s, end, " -p")
	kind, severity, ok := judgePassword("a login", value)
	if !ok {
		return hit{}, false
	}
	return hit{kind, severity, begin, begin + len(value), len(value)}, true
}

func sshpass(s *source, at int) (hit, bool) {
	value, begin := option(s, at, " -p ", " -p")
	kind, severity, ok := judgePassword("a login", value)
	if !ok {
		return hit{}, false
	}
	return hit{kind, severity, begin, begin + len(value), len(value)}, true
}
