package redact

import (
	"strings"
)

// commandLine finds the secrets in a text that may be a shell's command line, by
// flags and programs.
func commandLine(s string, depth int) []span {
	words, offsets := shellWords(s)
	var found []span
	args(words, depth, func(word, from, to int) {
		found = append(found, span{offsets[word] + from, offsets[word] + to})
	})
	if len(found) < 2 {
		return found
	}
	sortSpans(found)
	return merge(found[:1:1], found[1:])
}

// shellWords cuts a command line into words as a shell does, about. Quotes around a word
// are left off; an empty word stands where a new command begins.
func shellWords(s string) (words []string, offsets []int) {
	for i := 0; i < len(s); {
		switch {
		case blank(s[i]):
			i++
			continue
		case strings.IndexByte("\n\r|;&()`", s[i]) >= 0:
			words, offsets = append(words, ""), append(offsets, i)
			i++
			continue
		}
		from, quote := i, byte(0)
		for ; i < len(s); i++ {
			c := s[i]
			if c == '\\' && quote != '\'' {
				i++
			} else if quote != 0 {
				if c == quote {
					quote = 0
				}
			} else if c == '"' || c == '\'' {
				quote = c
			} else if strings.IndexByte(" \t\n\r|;&()`", c) >= 0 {
				break
			}
		}
		i = min(i, len(s))
		w := s[from:i]
		if n := len(w); n >= 2 && (w[0] == '"' || w[0] == '\'') && w[n-1] == w[0] {
			w, from = w[1:n-1], from+1
		}
		if w != "" {
			words, offsets = append(words, w), append(offsets, from)
		}
	}
	return words, offsets
}

// args finds the values of flags and operands that are secrets.
func args(words []string, depth int, add func(word, from, to int)) {
	c := command{words: words, add: add}
	for i, w := range words {
		switch {
		case w == "":
			c.program, c.login = "", false
		case depth < 4 && strings.ContainsAny(w, " \t\n"):
			for _, f := range commandLine(w, depth+1) {
				add(i, f.from, f.to)
			}
			if w[0] == '-' {
				c.flag(i)
			}
		case w[0] == '-':
			c.flag(i)
		default:
			c.operand(i)
		}
	}
}

type command struct {
	words   []string
	add     func(word, from, to int)
	program string
	login   bool
}

// all takes out a word, if it is there and no flag.
func (c *command) all(i int) {
	if i < len(c.words) && worth(c.words[i]) && c.words[i][0] != '-' {
		c.add(i, 0, len(c.words[i]))
	}
}

// after takes out what stands after a sign in a word, from a place on.
func (c *command) after(i, from int, sign byte) {
	if i >= len(c.words) || from > len(c.words[i]) {
		return
	}
	if at := strings.IndexByte(c.words[i][from:], sign); at >= 0 && worth(c.words[i][from+at+1:]) {
		c.add(i, from+at+1, len(c.words[i]))
	}
}

// piped takes out what is written into the command that has the word i.
func (c *command) piped(i int) {
	for j := i - 1; j > 1 && j > i-8; j-- {
		if c.words[j] != "" {
			continue
		}
		for k := j - 2; k >= 0 && k >= j-3; k-- {
			if c.words[k] == "echo" || c.words[k] == "printf" {
				c.all(j - 1)
			}
		}
		return
	}
}

func (c *command) flag(i int) {
	w := c.words[i]
	name, value, given := strings.Cut(strings.TrimLeft(w, "-"), "=")
	switch {
	case name == "password-stdin", name == "stdin", c.program == "sudo" && w == "-S":
		c.piped(i)
	case name == "from-literal":
		if given {
			c.after(i, len(w)-len(value), '=')
		} else {
			c.after(i+1, 0, '=')
		}
	case (name == "user" || name == "proxy-user") && (c.program == "curl" || c.program == "etcdctl"):
		if given {
			c.after(i, len(w)-len(value), ':')
		} else {
			c.after(i+1, 0, ':')
		}
	case strings.HasPrefix(name, "no-"), c.program == "openssl": // its operands say what they are
	case sensitive(name, broad) && !strings.ContainsAny(name, " \t"):
		if given {
			if inner := strings.Trim(value, `"'`); worth(inner) {
				from := len(w) - len(value) + strings.Index(value, inner)
				c.add(i, from, from+len(inner))
			}
		} else {
			c.all(i + 1)
		}
	case c.program == "htpasswd" && strings.Contains(name, "b"):
		last := i
		for last+1 < len(c.words) && last < i+8 && c.words[last+1] != "" {
			last++
		}
		if last > i+1 {
			c.all(last)
		}
	case !strings.HasPrefix(w, "--") && len(w) >= 2:
		c.short(i, w)
	}
}

// short looks at flags of one letter, which mean a password to some programs only.
func (c *command) short(i int, w string) {
	apart := func() {
		if len(w) > 2 {
			if inner := strings.Trim(w[2:], `"'`); inner != "" {
				from := 2 + strings.Index(w[2:], inner)
				c.add(i, from, from+len(inner))
			}
		} else {
			c.all(i + 1)
		}
	}
	half := func(sign byte) {
		if len(w) > 2 {
			c.after(i, 2, sign)
		} else {
			c.after(i+1, 0, sign)
		}
	}
	switch c.program + " " + w[1:2] {
	case "mysql p":
		if len(w) > 2 { // alone it asks
			apart()
		}
	case "login p":
		if c.login {
			apart()
		}
	case "mongo p", "sshpass p", "cqlsh p", "influx p", "influx t", "redis-cli a", "ldap w", "sql P", "useradd p", "usermod p":
		apart()
	case "curl u", "curl U", "http a":
		half(':')
	case "curl b":
		half('=')
	case "smbclient U":
		half('%')
	case "lftp u":
		half(',')
	}
}

func (c *command) operand(i int) {
	w := c.words[i]
	if p := program(w); p != "" {
		c.program, c.login = p, false
		return
	}
	before := ""
	if i > 0 {
		before = c.words[i-1]
	}
	switch {
	case w == "login":
		c.login = true
		if c.program == "vault" && i+1 < len(c.words) && !strings.Contains(c.words[i+1], "=") {
			c.all(i + 1)
		}
	case (strings.EqualFold(before, "set") || before == "ENV") && !strings.Contains(w, "=") && sensitive(w, broad):
		c.all(i + 1)
	case before == "alias" && w == "set" && c.program == "mc":
		c.all(i + 3)
		c.all(i + 4)
	case c.program == "redis-cli" && strings.EqualFold(w, "auth"):
		c.all(i + 1)
		c.all(i + 2)
	case c.program == "vault" && (w == "put" || w == "write" || w == "patch"):
		c.login = true
	case c.program == "vault" && c.login && strings.Contains(w, "="):
		c.after(i, 0, '=')
	case c.program == "vault" && w == "unseal":
		c.all(i + 1)
	case c.program == "etcdctl" && before == "add":
		c.after(i, 0, ':')
	case before == "<<<" && i > 2 && (c.words[i-2] == "passwd" || c.words[i-3] == "passwd"):
		c.all(i)
	case c.program == "redis-cli" && strings.EqualFold(w, "setuser"):
		c.login = true
	case c.program == "redis-cli" && c.login && w[0] == '>' && len(w) > 1:
		c.add(i, 1, len(w))
	case w == "requirepass", w == "masterauth", w == "rootpw", w == "bindpw", // lines of settings
		w == "password" && i > 1 && c.words[i-2] == "login": // of netrc
		c.all(i + 1)
	case c.program == "rabbitmqctl" && (w == "add_user" || w == "change_password"):
		c.all(i + 2)
	case c.program == "openssl" && strings.HasPrefix(w, "pass:"):
		c.after(i, 0, ':')
	case w == "chpasswd":
		for j := max(0, i-8); j < i; j++ {
			c.after(j, 0, ':')
		}
	}
}

// program gives the family that a program belongs to, by its file's name.
func program(w string) string {
	switch name := w[strings.LastIndexByte(w, '/')+1:]; name {
	case "mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mysqlpump", "mysqlsh", "mariadb", "mariadb-dump", "mariadb-admin":
		return "mysql"
	case "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "mongostat":
		return "mongo"
	case "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oras", "crane", "regctl", "az", "oc", "argocd":
		return "login"
	case "ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldapwhoami", "ldappasswd":
		return "ldap"
	case "sqlcmd", "bcp", "isql", "tsql", "mosquitto_pub", "mosquitto_sub": //nolint:misspell // the program is spelt so
		return "sql"
	case "http", "https", "xh":
		return "http"
	case "curl", "etcdctl", "sshpass", "cqlsh", "influx", "redis-cli", "smbclient", "lftp", "htpasswd", "vault", "mc", "rabbitmqctl", "openssl", "useradd", "usermod", "sudo":
		return name
	}
	return ""
}
