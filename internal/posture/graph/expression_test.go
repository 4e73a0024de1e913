package graph

import (
	"strings"
	"testing"
)

func TestCalico(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "web", "tier": "front", "empty": ""}
	for text, want := range map[string]bool{
		"":                      true,
		"all()":                 true,
		"global()":              false,
		`app == "web"`:          true,
		`app=='web'`:            true,
		`app != 'web'`:          false,
		`none != 'web'`:         true,
		`has(app)`:              true,
		`!has(app)`:             false,
		`has(none) || has(app)`: true,
		`has(none) && has(app)`: false,
		`has(app) && (has(none) || app == "web")`: true,
		`app in {"api", "web"}`:                   true,
		`app in {}`:                               false,
		`app not in {"api"}`:                      true,
		`none not in {"api"}`:                     true,
		`app contains "e"`:                        true,
		`app starts with "we"`:                    true,
		`app ends with "we"`:                      false,
		`empty == ""`:                             true,
		`! (app == "web")`:                        false,
		`has(none) && has(none) || has(app)`:      true,
	} {
		e, err := parseCalico(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := e(labels); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{
		"app", "app ==", `app == web`, `app == "web`, "has(app", "has()", "(all()", "all() has(a)", "&& all()", `app in {"a" "b"}`, `app in "a"`, "!", "=",
		strings.Repeat("(", 1000) + "all()" + strings.Repeat(")", 1000),
	} {
		if _, err := parseCalico(text); err == nil {
			t.Errorf("%.40q was read", text)
		}
	}
}

func FuzzCalico(f *testing.F) {
	for _, s := range []string{"", `app == "web" && !has(x)`, `a in {"b", 'c'} || (all())`, `a not in {}`, `a starts with "b"`} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		if e, err := parseCalico(text); err == nil {
			e(nil)
			e(map[string]string{"a": "b"})
		}
	})
}

func TestSelector(t *testing.T) {
	t.Parallel()
	expr := func(key, op string, values ...any) map[string]any {
		return map[string]any{"matchExpressions": []any{map[string]any{"key": key, "operator": op, "values": values}}}
	}
	labels := map[string]string{"app": "web"}
	for _, tt := range []struct {
		name string
		v    any
		want bool
	}{
		{"empty", map[string]any{}, true},
		{"none", nil, false},
		{"text", "app=web", false},
		{"equal", map[string]any{"matchLabels": map[string]any{"app": "web"}}, true},
		{"other", map[string]any{"matchLabels": map[string]any{"app": "api"}}, false},
		{"wrong type of a value", map[string]any{"matchLabels": map[string]any{"app": true}}, false},
		{"wrong type of labels", map[string]any{"matchLabels": "app"}, false},
		{"in", expr("app", "In", "api", "web"), true},
		{"in nothing", expr("app", "In"), false},
		{"not in", expr("app", "NotIn", "api"), true},
		{"not in, absent", expr("tier", "NotIn", "api"), true},
		{"exists", expr("app", "Exists"), true},
		{"does not exist", expr("app", "DoesNotExist"), false},
		{"no such operator", expr("app", "exists"), false},
	} {
		s := parseSelector(tt.v, nil)
		if got := s.matches(labels); got != tt.want {
			t.Errorf("%s: %v, want %v (%s)", tt.name, got, tt.want, s.String())
		}
	}
}

func TestFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
		ok   bool
	}{
		{[]string{"kube-apiserver", "--audit=x"}, "x", true},
		{[]string{"kube-apiserver", "-audit=x"}, "x", true},
		{[]string{"kube-apiserver", "--audit", "x"}, "x", true},
		{[]string{"kube-apiserver", "--audit=x", "--audit=y"}, "y", true},
		{[]string{"kube-apiserver", "--audit"}, "true", true},
		{[]string{"kube-apiserver", "--auditor=x", "audit=x"}, "", false},
		{nil, "", false},
	} {
		if got, ok := flag(tt.args, "audit"); got != tt.want || ok != tt.ok {
			t.Errorf("%v: %q %v, want %q %v", tt.args, got, ok, tt.want, tt.ok)
		}
	}
}
