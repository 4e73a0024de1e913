package sigma

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// whole makes a rule of a detection, from line 4 on.
func whole(detection string) string {
	return "title: T\nlogsource: {product: kubernetes}\ndetection:\n" + detection
}

func TestErrors(t *testing.T) {
	t.Parallel()
	bomb := "x0: &x0 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 10), ", "))
	}
	tests := []struct{ name, text, want string }{
		{"modifier", whole("  s: {a|contain: b}\n  condition: s"), `f:4: search "s", "a|contain": modifier "contain" is unknown`},
		{"name", whole("  s: {a: b}\n  condition: s and t"), `f:5: condition: no search is called "t"; there are s`},
		{"pattern", whole("  s: {a: b}\n  condition: 1 of t*"), `f:5: condition: "1 of t*": no search has such a name`},
		{"pattern alone", whole("  s: {a: b}\n  condition: s*"), `expected "1 of s*"`},
		{"quantity", whole("  s: {a: b}\n  condition: 2 of s"), `"2 of": expected 1 of, any of or all of`},
		{"of nothing", whole("  s: {a: b}\n  condition: 1 of"), `is followed by nothing`},
		{"ends", whole("  s: {a: b}\n  condition: s and"), `it ends after "and"`},
		{"begins", whole("  s: {a: b}\n  condition: or s"), `"or" where the name`},
		{"two names", whole("  s: {a: b}\n  condition: s s"), `"s" after a whole condition`},
		{"open bracket", whole("  s: {a: b}\n  condition: (s"), `not closed`},
		{"closing bracket", whole("  s: {a: b}\n  condition: s)"), `")" after a whole`},
		{"empty bracket", whole("  s: {a: b}\n  condition: ()"), `nothing in it`},
		{"character", whole("  s: {a: b}\n  condition: s & s"), `'&' is no part of a condition`},
		{"aggregation", whole("  s: {a: b}\n  condition: s | count() > 5"), `write a correlation`},
		{"timeframe", whole("  s: {a: b}\n  timeframe: 5m\n  condition: s"), `f:5: timeframe belongs to aggregations`},
		{"empty condition", whole("  s: {a: b}\n  condition: ''"), `it is empty`},
		{"no conditions", whole("  s: {a: b}\n  condition: []"), `it is empty`},
		{"condition missing", whole("  s: {a: b}"), `f:4: detection: the condition is missing`},
		{"deep", whole("  s: {a: b}\n  condition: '" + strings.Repeat("(", 200) + "s" + strings.Repeat(")", 200) + "'"), `nested deeper`},
		{"many nots", whole("  s: {a: b}\n  condition: '" + strings.Repeat("not ", 200) + "s'"), `nested deeper`},
		{"long", whole("  s: {a: b}\n  condition: '" + strings.Repeat("s or ", 3000) + "s'"), `at most`},
		{"empty search", whole("  s: {}\n  condition: s"), `f:4: search "s" is empty`},
		{"empty list", whole("  s: []\n  condition: s"), `is an empty list`},
		{"list in list", whole("  s: [[a]]\n  condition: s"), `a list in a list`},
		{"map as value", whole("  s: {a: {b: c}}\n  condition: s"), `expected a value or a list of values`},
		{"no values", whole("  s: {a: []}\n  condition: s"), `the list is empty`},
		{"duplicate", whole("  s: {a: b, a: c}\n  condition: s"), `f:4: the key "a" stands here twice`},
		{"regexp", whole("  s: {a|re: '(?=x)'}\n  condition: s"), `RE2`},
		{"regexp large", whole("  s: {a|re: '" + strings.Repeat("a", 5000) + "'}\n  condition: s"), `at most`},
		{"regexp bomb", whole("  s: {a|re: '((a{900}){900}){900}'}\n  condition: s"), `does not compile`},
		{"flag", whole("  s: {a|i: b}\n  condition: s"), `stands after it`},
		{"cidr", whole("  s: {a|cidr: 10.0.0/8}\n  condition: s"), `is no network`},
		{"number", whole("  s: {a|gt: b}\n  condition: s"), `expected a number, not "b"`},
		{"exists", whole("  s: {a|exists: x}\n  condition: s"), `exists takes true or false`},
		{"exists list", whole("  s: {a|exists: [true]}\n  condition: s"), `no list`},
		{"fieldref", whole("  s: {a|fieldref: 5}\n  condition: s"), `the name of a field`},
		{"order of fieldref", whole("  s: {a|contains|fieldref: b}\n  condition: s"), `fieldref|contains`},
		{"two types", whole("  s: {a|re|cidr: b}\n  condition: s"), `contradict`},
		{"re and contains", whole("  s: {a|contains|re: b}\n  condition: s"), `no meaning together`},
		{"all and neq", whole("  s: {a|all|neq: [b, c]}\n  condition: s"), `no meaning together`},
		{"unit", whole("  s: {a|hour|contains: b}\n  condition: s"), `gives a number`},
		{"two units", whole("  s: {a|hour|day: 1}\n  condition: s"), `a date gives one part`},
		{"null", whole("  s: {a|contains: null}\n  condition: s"), `null is no text`},
		{"base64 wildcard", whole("  s: {a|base64: 'b*'}\n  condition: s"), `cannot have wildcards`},
		{"windash bomb", whole("  s: {a|windash|base64: '------'}\n  condition: s"), `too many dashes`},
		{"base64 after expand", whole("  s: {a|expand|base64: '%b%'}\n  condition: s"), `cannot stand after expand`},
		{"keyword", whole("  s: {'|cidr': [10.0.0.0/8]}\n  condition: s"), `keywords are searched`},
		{"level", whole("  s: {a: b}\n  condition: s\nlevel: severe"), `level "severe": expected one of`},
		{"status", whole("  s: {a: b}\n  condition: s\nstatus: fine"), `status "fine"`},
		{"title", "logsource: {product: k}\ndetection: {s: {a: b}, condition: s}", `title: it is missing`},
		{"logsource", "title: T\ndetection: {s: {a: b}, condition: s}", `has no logsource`},
		{"neither", "title: T\nlogsource: {product: k}", `neither detection nor correlation`},
		{"no mapping", "- a", `a rule is a mapping`},
		{"alias bomb", bomb, `more than 100000 values`},
		{"alias of itself", "a: &a [*a]", `nested deeper`},
		{"merge", "x: &x {a: b}\ny: {<<: *x}", `merge keys`},
		{"tag", "title: !!binary aGk=", `the tag !!binary`},
		{"deep yaml", strings.Repeat("[", 200) + strings.Repeat("]", 200), `nested deeper`},
		{"large", strings.Repeat("#", maxFile+1), `at most`},
		{"no yaml", "a: b: c", `f: yaml: `},
		{"action", "action: maybe\ntitle: T", `expected global, reset or repeat`},
		{"correlation type", "title: T\ncorrelation: {type: sum, rules: [a], timespan: 1m}", `expected event_count`},
		{"value_sum", "title: T\ncorrelation: {type: value_sum, rules: [a], timespan: 1m, condition: {gte: 1}}", `value_sum is not supported`},
		{"value_percentile", "title: T\ncorrelation: {type: value_percentile, rules: [a], timespan: 1m, condition: {gte: 1}}", `is not supported`},
		{"no rules", "title: T\ncorrelation: {type: temporal, timespan: 1m}", `correlation.rules: it is missing`},
		{"no timespan", "title: T\ncorrelation: {type: temporal, rules: [a]}", `correlation.timespan: it is missing`},
		{"timespan", "title: T\ncorrelation: {type: temporal, rules: [a], timespan: 5w}", `such as 90m`},
		{"long timespan", "title: T\ncorrelation: {type: temporal, rules: [a], timespan: 9999999999d}", `at most`},
		{"count", "title: T\ncorrelation: {type: event_count, rules: [a], timespan: 5m}", `needs a count`},
		{"field", "title: T\ncorrelation: {type: value_count, rules: [a], timespan: 5m, condition: {gte: 2}}", `needs field`},
		{"bound", "title: T\ncorrelation: {type: event_count, rules: [a], timespan: 5m, condition: {gte: many}}", `expected a whole number`},
		{"criterion", "title: T\ncorrelation: {type: event_count, rules: [a], timespan: 5m, condition: {above: 2}}", `"above" is unknown`},
		{"correlation key", "title: T\ncorrelation: {type: event_count, rules: [a], window: 5m, condition: {gte: 2}}", `"window" is unknown`},
		{"not", "title: T\ncorrelation: {type: temporal, rules: [a, b], timespan: 5m, condition: a and not b}", `not is not supported`},
		{"ordered condition", "title: T\ncorrelation: {type: temporal_ordered, rules: [a, b], timespan: 5m, condition: a or b}", `must all be met`},
		{"ordered count", "title: T\ncorrelation: {type: temporal_ordered, rules: [a, b], timespan: 5m, condition: {gte: 1}}", `a count is not read`},
		{"alias", "title: T\ncorrelation: {type: temporal, rules: [a, b], timespan: 5m, aliases: {x: {c: f}}}", `"c" is none of the rules`},
		{"rule twice", "title: T\ncorrelation: {type: temporal, rules: [a, a], timespan: 5m}", `stands there twice`},
	}
	for _, tt := range tests {
		_, err := Parse("f", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestAllErrors: one bad document does not hide another, nor the good one.
func TestAllErrors(t *testing.T) {
	t.Parallel()
	rules, err := Parse("f", []byte(whole("  s: {a|x: b}\n  condition: s and t\n")+"---\n"+whole("  s: {a: b}\n  condition: s\n")+"---\n- x\n"))
	if len(rules) != 1 {
		t.Errorf("got %d rules", len(rules))
	}
	for _, want := range []string{"f:4: ", "f:5: ", "f:13: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestGlobal(t *testing.T) {
	t.Parallel()
	rules, err := Parse("f", []byte(`
action: global
title: T
level: low
logsource: {product: kubernetes}
detection: {common: {verb: create}}
---
name: one
detection: {s: {a: b}, condition: common and s}
---
name: two
level: high
detection: {s: {a: c}, condition: s}
---
action: repeat
name: three
---
action: reset
---
title: U
name: four
logsource: {product: aws}
detection: {s: {a: c}, condition: s}
---
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		got = append(got, fmt.Sprint(r.Name, " ", r.Title, " ", r.Level, " ", r.LogSource.Product, " ", len(r.Detection.Searches)))
	}
	want := []string{"one T low kubernetes 2", "two T high kubernetes 2", "three T high kubernetes 2", "four U  aws 1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestMeta has the attributes that a published rule may have, and some that none has.
func TestMeta(t *testing.T) {
	t.Parallel()
	rules, err := Parse("f", []byte(`
title: T
id: 929a690e-bef0-4204-a928-ef5e620d6fcc
related: [{id: 08fbc97d-0a2f-491c-ae21-8ffcfd3174e9, type: derived}]
taxonomy: sigma
status: test
description: |
  Some text.
license: MIT
references: [https://example.com]
author: A
date: 2024/03/26
modified: 2024-03-27
tags: [attack.t1611]
logsource: {category: application, product: kubernetes, service: audit, definition: text}
detection: &d {s: {a: b}, condition: s}
again: *d
fields: [a]
falsepositives: Unknown
scope: [server]
custom: {x: 1}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := rules[0]
	if r.Date != "2024/03/26" || r.FalsePositives[0] != "Unknown" || r.Attributes["custom"] == nil || r.LogSource.String() != "category application, product kubernetes, service audit" {
		t.Errorf("got %+v", r)
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want Pattern
	}{
		{`a`, Pattern{{PartText, "a"}}},
		{`a*b`, Pattern{{PartText, "a"}, {Kind: PartAny}, {PartText, "b"}}},
		{`a**`, Pattern{{PartText, "a"}, {Kind: PartAny}}},
		{`\*`, Pattern{{PartText, "*"}}},
		{`\\*`, Pattern{{PartText, `\`}, {Kind: PartAny}}},
		{`\\\*`, Pattern{{PartText, `\*`}}},
		{`\\\\`, Pattern{{PartText, `\\`}}},
		{`\\\`, Pattern{{PartText, `\\`}}},
		{`C:\Windows\`, Pattern{{PartText, `C:\Windows\`}}},
		{`a\?b?`, Pattern{{PartText, `a?b`}, {Kind: PartOne}}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, ParsePattern(tt.text)); d != "" {
			t.Errorf("%s: %s", tt.text, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole("  s: {a|re|i: b, c|base64offset|contains: ['x', 5, null]}\n  condition: 1 of s* and not (s or s)")))
	f.Add([]byte("action: global\ntitle: T\n---\naction: repeat\ncorrelation: {type: temporal, rules: [a, b], timespan: 5m, condition: a and b, aliases: {x: {a: f}}}"))
	f.Add([]byte("a: &a [*a]\n--- !!binary x"))
	f.Add([]byte("title: T\nlogsource:\ndetection: {s: [x, {y|windash|wide|base64: -z}], condition: [s, all of them]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := Parse("f", text)
		for _, r := range rules {
			if r.Title == "" || r.Detection == nil && r.Correlation == nil && !r.Filter {
				t.Errorf("half a rule came out: %+v", r)
			}
			if r.Detection != nil && r.Detection.Condition == nil {
				t.Error("a rule without a condition came out")
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error names no file: %v", err)
		}
	})
}

// FuzzCondition checks that what was read only has names that there are.
func FuzzCondition(f *testing.F) {
	for _, text := range []string{"a", "a and not (b or 1 of c*)", "all of them", "not NOT a", "((a))", "1 of", "a | count() > 1"} {
		f.Add(text)
	}
	names := []string{"a", "b", "c1", "c2", "_d"}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseCondition(text, names)
		if err != nil {
			return
		}
		var walk func(e *Expr)
		walk = func(e *Expr) {
			switch e.Op {
			case OpSearch:
				if !strings.Contains("a b c1 c2 _d", e.Name) || e.Name == "" {
					t.Errorf("%q: got %q", text, e.Name)
				}
			case OpNot:
				if len(e.Args) != 1 {
					t.Errorf("%q: not of %d", text, len(e.Args))
				}
			case OpAnd, OpOr:
				if len(e.Args) < 2 {
					t.Errorf("%q: and, or of %d", text, len(e.Args))
				}
			case OpItem:
				t.Errorf("%q: an item", text)
			}
			for _, a := range e.Args {
				walk(a)
			}
		}
		walk(e)
	})
}
