package pipeline

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

const base = `
title: T
logsource: {product: kubernetes, service: audit}
fields: [who]
detection:
  s: {who: alice, what|contains: [x, y], when|fieldref: who}
  t: {drop: me}
  u: [{drop: me}, {who|neq: bob}]
  condition: s and not t and not (t or u)
`

// told gives a rule's fields and values as one text.
func told(r *sigma.Rule) string {
	var out []string
	var walk func(e *sigma.Expr) string
	walk = func(e *sigma.Expr) string {
		switch e.Op {
		case sigma.OpItem:
			text := e.Item.Field
			for _, v := range e.Item.Values {
				for _, t := range v.Tests {
					if l, ok := t.Pattern.Literal(); ok && l != "" {
						text += "=" + l
					}
					if t.Ref != "" {
						text += "->" + t.Ref
					}
				}
			}
			return text
		case sigma.OpSearch:
			return e.Name
		case sigma.OpAnd, sigma.OpOr, sigma.OpNot:
		}
		var args []string
		for _, a := range e.Args {
			args = append(args, walk(a))
		}
		return []string{sigma.OpAnd: "and", sigma.OpOr: "or", sigma.OpNot: "not"}[e.Op] + "(" + strings.Join(args, " ") + ")"
	}
	for _, s := range r.Detection.Searches {
		out = append(out, s.Name+": "+walk(s.Expr))
	}
	return strings.Join(append(out, walk(r.Detection.Condition), strings.Join(r.Fields, ",")), "\n")
}

func TestApply(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, step, want string }{
		{
			"mapping", "{type: field_name_mapping, mapping: {who: user, drop: gone}}",
			"s: and(user=alice what when->user)\nt: and(gone=me)\nu: or(and(gone=me) and(user=bob))\nand(s not(t) not(or(t u)))\nuser",
		},
		{
			"to several", "{type: field_name_mapping, mapping: {who: [user, actor]}}",
			"s: and(or(user=alice actor=alice) what when->user)\nt: and(drop=me)\nu: or(and(drop=me) and(and(user=bob actor=bob)))\nand(s not(t) not(or(t u)))\nuser,actor",
		},
		{
			"prefix", "{type: field_name_prefix, prefix: 'x.', field_name_conditions: [{type: include_fields, fields: [drop]}]}",
			"s: and(who=alice what when->who)\nt: and(x.drop=me)\nu: or(and(x.drop=me) and(who=bob))\nand(s not(t) not(or(t u)))\nx.who",
		},
		{
			"prefix mapping", "{type: field_name_prefix_mapping, mapping: {w: v., wh: u.}}",
			"s: and(u.o=alice u.at u.en->u.o)\nt: and(drop=me)\nu: or(and(drop=me) and(u.o=bob))\nand(s not(t) not(or(t u)))\nu.o",
		},
		{
			"values", "{type: map_string, mapping: {alice: carol}}",
			"s: and(who=carol what when->who)\nt: and(drop=me)\nu: or(and(drop=me) and(who=bob))\nand(s not(t) not(or(t u)))\nwho",
		},
		{
			"drop", "{type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [drop]}]}",
			"s: and(who=alice what when->who)\nu: who=bob\nand(s not(u))\nwho",
		},
		{
			"drop by value", "{type: drop_detection_item, detection_item_conditions: [{type: match_string, cond: any, pattern: '^me$'}]}",
			"s: and(who=alice what when->who)\nu: who=bob\nand(s not(u))\nwho",
		},
		{
			"another log", "{type: map_string, mapping: {alice: carol}, rule_conditions: [{type: logsource, product: aws}]}",
			"s: and(who=alice what when->who)\nt: and(drop=me)\nu: or(and(drop=me) and(who=bob))\nand(s not(t) not(or(t u)))\nwho",
		},
		{
			"not another log", "{type: map_string, mapping: {alice: carol}, rule_conditions: [{type: logsource, product: aws}], rule_cond_not: true}",
			"s: and(who=carol what when->who)\nt: and(drop=me)\nu: or(and(drop=me) and(who=bob))\nand(s not(t) not(or(t u)))\nwho",
		},
		{
			"one of two logs", "{type: map_string, mapping: {alice: carol}, rule_cond_op: or, rule_conditions: [{type: logsource, product: aws}, {type: logsource, service: audit}]}",
			"s: and(who=carol what when->who)\nt: and(drop=me)\nu: or(and(drop=me) and(who=bob))\nand(s not(t) not(or(t u)))\nwho",
		},
	}
	for _, tt := range tests {
		p, err := Parse("p", []byte("name: p\ntransformations: ["+tt.step+"]"))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		rules, err := sigma.Parse("r", []byte(base))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(rules[0]); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		// Mappings of one argument are that argument.
		got := strings.NewReplacer("and(drop=me)", "drop=me", "and(who=bob)", "who=bob").Replace(told(rules[0]))
		want := strings.NewReplacer("and(drop=me)", "drop=me", "and(who=bob)", "who=bob").Replace(tt.want)
		if norm(got) != norm(want) {
			t.Errorf("%s: %s", tt.name, cmp.Diff(want, got))
		}
	}
}

// norm takes the brackets around one thing away.
func norm(s string) string {
	for _, name := range []string{"gone=me", "user=bob", "x.drop=me", "u.o=bob", "drop=me", "who=bob", "and(user=bob actor=bob)"} {
		s = strings.ReplaceAll(s, "and("+name+")", name)
	}
	return s
}

func TestRefused(t *testing.T) {
	t.Parallel()
	p, err := Parse("p", []byte("transformations: [{type: rule_failure, message: not here, rule_conditions: [{type: logsource, product: kubernetes}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := sigma.Parse("r", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if err := p.Apply(rules[0]); !errors.As(err, &refused) || !strings.Contains(err.Error(), "not here") {
		t.Errorf("got %v", err)
	}
	p, err = Parse("p", []byte("transformations: [{type: drop_detection_item, field_name_conditions: [{type: exclude_fields, fields: [none]}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(rules[0]); err == nil || !strings.Contains(err.Error(), "nothing is left") {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"transformations: [{type: dance}]", "the type is unknown"},
		{"transformations: [{type: field_name_mapping}]", "mapping: expected"},
		{"transformations: [{type: field_name_mapping, mapping: {a: null}}]", "expected a text"},
		{"transformations: [{type: field_name_prefix}]", "prefix is missing"},
		{"transformations: [{type: drop_detection_item}]", "would drop everything"},
		{"transformations: [{type: change_logsource}]", "expected category"},
		{"transformations: [{type: rule_failure}]", "message is missing"},
		{"transformations: [{type: rule_failure, message: x, rule_conditions: [{type: tag}]}]", "is unknown; there is logsource"},
		{"transformations: [{type: rule_failure, message: x, rule_conditions: [{type: logsource}]}]", "expected category"},
		{"transformations: [{type: rule_failure, message: x, rule_cond_op: nor}]", "joins no conditions"},
		{"transformations: [{id: a, type: map_string, mapping: {a: b}, detection_item_conditions: [{type: match_string, pattern: '(', cond: any}]}]", `transformation "a"`},
		{"transformations: [{type: map_string, mapping: {a: b}, detection_item_conditions: [{type: match_string, pattern: 'a'}]}]", "expected any or all"},
		{"transformations: [{type: map_string, mapping: {a: b}, field_name_conditions: [{type: include_fields, fields: ['('], mode: re}]}]", "include_fields"},
		{"transformation: []", "not found"},
		{"vars: {a: {b: c}}", "vars.a"},
		{"a: b\n---\nc: d", "is one document"},
	}
	for _, tt := range tests {
		if _, err := Parse("p", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, err := Builtin(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(builtin))
	f.Add([]byte("vars: {a: [b]}\ntransformations: [{type: field_name_prefix, prefix: x}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("p", text)
		if err != nil {
			return
		}
		rules, err := sigma.Parse("r", []byte(base))
		if err != nil {
			t.Fatal(err)
		}
		if p.Apply(rules[0]) == nil && (rules[0].Detection.Condition == nil || len(rules[0].Detection.Searches) == 0) {
			t.Error("nothing is left, and nobody says so")
		}
	})
}
