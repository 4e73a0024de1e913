package archtest

import (
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "bulwark.dev/bulwark"

// mayImport lists, for each room, the rooms it may import; every room may also
// import the words, which are the root package and written "". A room that is
// not listed fails the test, and so does a line whose room is gone.
//
// The gateway is large enough to have rooms of its own; they are listed with
// their path and one does not inherit what another may do.
var mayImport = map[string][]string{
	"":          {},
	"api":       {},
	"cluster":   {"api"}, // docs/adr/0004
	"auth":      {},
	"ops":       {},
	"examples":  {},
	"archtest":  {},
	"docgen":    {}, // docs/adr/0007
	"catalog":   {},
	"posture":   {"catalog", "cluster"},
	"admission": {"api", "cluster", "ops", "posture"},
	"audit":     {"catalog", "ops"}, // docs/adr/0015
	"app": {
		"admission", "api", "audit", "catalog", "cluster", "auth", "ops", "examples", "posture",
		"gateway/compile", "gateway/filters", "gateway/ir", "gateway/limit",
		"gateway/message", "gateway/proxy", "gateway/upstream",
	},
	"cmd": {"app"},

	"gateway/ir":       {},
	"gateway/message":  {},
	"gateway/limit":    {},
	"gateway/compile":  {"api", "gateway/ir", "gateway/message"},
	"gateway/filters":  {"auth", "gateway/ir", "gateway/limit", "gateway/message"},
	"gateway/upstream": {"gateway/ir", "gateway/message"},
	"gateway/proxy":    {"gateway/filters", "gateway/ir", "gateway/message", "gateway/upstream"},
}

// onlyIn keeps a heavy dependency in the rooms that need it. A longer path,
// such as auth/authn, narrows the room.
var onlyIn = map[string][]string{
	"k8s.io/client-go": {"internal/cluster", "internal/app", "internal/auth/authn"},
}

// outside lists the modules that a room may use besides the standard library;
// rooms that are not listed are free. The words, the plain data and the example
// stay readable without knowing any library.
var outside = map[string][]string{
	"":                {},
	"gateway/ir":      {},
	"gateway/message": {"golang.org/x/"},
	"examples":        {"github.com/go-jose/go-jose/"},
	"archtest":        {},
	"docgen":          {},
}

// sideEffects are the packages of the standard library that the words, which do
// no I/O, leave alone.
var sideEffects = []string{"os", "os/exec", "net", "net/http", "syscall", "io/ioutil"}

// room names the room that a directory, relative to the module's root, is part
// of.
func room(dir string) string {
	dir = strings.TrimPrefix(path.Clean(dir), "internal/")
	if dir == "." {
		return ""
	}
	first, rest, _ := strings.Cut(dir, "/")
	if first != "gateway" {
		return first
	}
	second, _, _ := strings.Cut(rest, "/")
	return path.Join(first, second)
}

// verdict says why a file in dir may not import imp, or "".
func verdict(dir, imp string) string {
	from := room(dir)
	allowed, known := mayImport[from]
	if !known {
		return "room " + strconv.Quote(from) + " is not in mayImport"
	}
	for dep, dirs := range onlyIn {
		under := func(d string) bool { return within(dir, d) }
		if within(imp, dep) && !slices.ContainsFunc(dirs, under) {
			return "only " + strings.Join(dirs, ", ") + " may import " + dep
		}
	}
	if within(imp, module) {
		to := room(strings.TrimPrefix(strings.TrimPrefix(imp, module), "/"))
		if to == from || slices.Contains(allowed, to) || to == "" && !wordless(from) {
			return ""
		}
		return "room " + strconv.Quote(from) + " may not import room " + strconv.Quote(to)
	}
	if standard(imp) {
		if from == "" && slices.Contains(sideEffects, imp) {
			return "the words do no I/O"
		}
		return ""
	}
	prefixes, limited := outside[from]
	has := func(prefix string) bool { return strings.HasPrefix(imp, prefix) }
	if limited && !slices.ContainsFunc(prefixes, has) {
		return "room " + strconv.Quote(from) + " may use the standard library only, plus " + strconv.Quote(strings.Join(prefixes, " "))
	}
	return ""
}

// within reports whether a path is parent or below it, by whole elements.
func within(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

// wordless are the rooms that do not even get the words: the command only hands
// over to app, the example is a program that knows nothing of Bulwark, and the
// generator reads sources, not packages.
func wordless(from string) bool { return from == "cmd" || from == "examples" || from == "docgen" }

// standard reports whether an import path is the standard library's: its first
// element has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	tests := []struct {
		dir, imp string
		ok       bool
	}{
		{".", "time", true},
		{".", "net/netip", true},
		{".", "net/http", false},
		{".", "github.com/google/cel-go/cel", false},
		{".", module + "/api/v1alpha1", false},
		{"cmd/bulwark", module + "/internal/app", true},
		{"cmd/bulwark", module, false},
		{"cmd/bulwark", module + "/internal/gateway/proxy", false},
		{"internal/app", module + "/internal/gateway/proxy", true},
		{"internal/app", module + "/examples/shop", true},
		{"internal/app", "k8s.io/client-go/rest", true},
		{"internal/cluster", module + "/api/v1alpha1", true},
		{"internal/cluster", module + "/internal/gateway/ir", false},
		{"internal/cluster", "k8s.io/client-go/rest", true},
		{"internal/auth/authn", "k8s.io/client-go/rest", true},
		{"internal/auth/authz", "k8s.io/client-go/rest", false},
		{"internal/auth/authz", module, true},
		{"internal/auth/authn", module + "/internal/gateway/ir", false},
		{"internal/ops", module + "/internal/app", false},
		{"internal/gateway/ir", module, true},
		{"internal/gateway/ir", module + "/api/v1alpha1", false},
		{"internal/gateway/ir", "sigs.k8s.io/gateway-api/apis/v1", false},
		{"internal/gateway/message", module + "/internal/gateway/ir", false},
		{"internal/gateway/compile", module + "/api/v1alpha1", true},
		{"internal/gateway/compile", module + "/internal/cluster", false},
		{"internal/gateway/compile", module + "/internal/gateway/filters", false},
		{"internal/gateway/filters", module + "/internal/auth/authn", true},
		{"internal/gateway/filters", module + "/internal/gateway/proxy", false},
		{"internal/gateway/upstream", module + "/internal/gateway/message", true},
		{"internal/gateway/upstream", module + "/internal/gateway/filters", false},
		{"internal/gateway/proxy", module + "/internal/gateway/upstream", true},
		{"internal/gateway/proxy", module + "/internal/gateway/compile", false},
		{"internal/gateway/proxy", module + "/internal/ops", false},
		{"internal/gateway", module, false},
		{"internal/gatewayextra", module, false},
		{"internal/nowhere", "time", false},
		{"examples/shop", "net/http", true},
		{"examples/shop/idp", "github.com/go-jose/go-jose/v4", true},
		{"examples/shop", "github.com/gorilla/websocket", false},
		{"examples/shop", module, false},
	}
	for _, tt := range tests {
		if got := verdict(tt.dir, tt.imp); (got == "") != tt.ok {
			t.Errorf("%s importing %s: got %q, want allowed %t", tt.dir, tt.imp, got, tt.ok)
		}
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, file := range goFiles(t) {
		// The test module stands outside: it may look into every room.
		if file.test || within(file.path, "test") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.abs, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(file.path)
		if _, known := mayImport[room(dir)]; !known && !seen[room(dir)] {
			t.Errorf("%s: room %q is new; it needs a page in docs/adr and a line in mayImport", file.path, room(dir))
		}
		seen[room(dir)] = true
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: import %s: %v", file.path, spec.Path.Value, err)
			}
			if why := verdict(dir, imp); why != "" {
				t.Errorf("%s imports %s: %s", file.path, imp, why)
			}
		}
	}
	for r := range mayImport {
		if !seen[r] {
			t.Errorf("mayImport lists room %q, which has no Go file", r)
		}
	}
}
