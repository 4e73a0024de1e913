package chart

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

var (
	// placeInText finds "chart/templates/x.yaml:12" in an error of the engine.
	placeInText = regexp.MustCompile(`([^\s():"]+):(\d+)`)
	// lead is what the engine and the template package put before the reason.
	lead = regexp.MustCompile(`(?s)^.*executing "[^"]*" at <[^>]*>: `)
	// calls are the functions on the way, which say nothing by themselves.
	calls = regexp.MustCompile(`^(error calling \w+: )+`)
	// quoted is a text that the tpl function was given: a value, which may hold a
	// password.
	quoted = regexp.MustCompile(`(?s)(execution for|parse template) ".*"`)
	place  = regexp.MustCompile(`^(parse|execution) error (at|in) \([^)]*\): `)
)

// clean gives the reason alone, in one line of modest length.
func clean(text string) string {
	text = quoted.ReplaceAllString(text, "$1 a value")
	text = lead.ReplaceAllString(text, "")
	text = place.ReplaceAllString(text, "")
	text = calls.ReplaceAllString(text, "")
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// secretName is how fields are named that hold what nobody may read.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|cred|private|api.?key|access.?key|dsn|auth`)

// secrets gives the texts below fields of such names, the longest first.
func secrets(values any) []string {
	found := map[string]bool{}
	var look func(v any, secret bool)
	look = func(v any, secret bool) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				look(e, secret || secretName.MatchString(k))
			}
		case []any:
			for _, e := range v {
				look(e, secret)
			}
		case string:
			if secret && len(v) >= 4 {
				found[v] = true
			}
		}
	}
	look(plain(values), false)
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
}

// hide takes values out of the text of an error, which may quote them.
func hide(text string, values []string) string {
	for _, v := range values {
		text = strings.ReplaceAll(text, v, "(hidden)")
		if inner := strings.Trim(strconv.Quote(v), `"`); inner != v {
			text = strings.ReplaceAll(text, inner, "(hidden)")
		}
	}
	return text
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// maxCount is the largest count or length that a template may state.
const maxCount = 1_000_000

// counters are the functions that make as much as a number says.
var counters = map[string]bool{ //nolint:gochecknoglobals // a table
	"until": true, "untilStep": true, "seq": true, "repeat": true, "indent": true, "nindent": true,
	"randAlphaNum": true, "randAlpha": true, "randNumeric": true, "randAscii": true, "randBytes": true,
}

// huge says why a template is not run: it states a size that would use up the
// machine. Text that does not parse is left to the engine, which says why.
func huge(text string) string {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return ""
	}
	for _, t := range trees {
		if t.Root == nil {
			continue
		}
		if what := hugeIn(t.Root); what != "" {
			return what
		}
	}
	return ""
}

func hugeIn(n parse.Node) string {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return ""
		}
		for _, c := range n.Nodes {
			if what := hugeIn(c); what != "" {
				return what
			}
		}
	case *parse.ActionNode:
		return hugePipe(n.Pipe, false)
	case *parse.IfNode:
		return hugeBranch(&n.BranchNode, false)
	case *parse.WithNode:
		return hugeBranch(&n.BranchNode, false)
	case *parse.RangeNode:
		return hugeBranch(&n.BranchNode, true)
	case *parse.TemplateNode:
		return hugePipe(n.Pipe, false)
	}
	return ""
}

func hugeBranch(n *parse.BranchNode, loop bool) string {
	if what := hugePipe(n.Pipe, loop); what != "" {
		return what
	}
	if what := hugeIn(n.List); what != "" {
		return what
	}
	return hugeIn(n.ElseList)
}

// hugePipe looks at one pipeline; loop says that a number alone is a loop's.
func hugePipe(p *parse.PipeNode, loop bool) string {
	if p == nil {
		return ""
	}
	for _, cmd := range p.Cmds {
		counts := loop
		for _, arg := range cmd.Args {
			switch arg := arg.(type) {
			case *parse.IdentifierNode:
				counts = counts || counters[arg.Ident]
			case *parse.NumberNode:
				if counts && ((arg.IsInt && (arg.Int64 > maxCount || arg.Int64 < -maxCount)) || (arg.IsFloat && arg.Float64 > maxCount)) {
					return fmt.Sprintf("it counts to %s, and %d is the most", arg.Text, maxCount)
				}
			case *parse.PipeNode:
				if what := hugePipe(arg, loop); what != "" {
					return what
				}
			}
		}
	}
	return ""
}
