// Package policy reads how long which events of the trail are kept.
package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/audit"
)

// The bounds of a policy.
const (
	maxPolicy  = 1 << 20
	maxClasses = 100
)

// Policy says how long which events are kept. Of what no class matches, everything is
// kept for good.
type Policy struct {
	// MaxBytes is how many bytes the sealed segments and the openings may have together; 0
	// is any number.
	MaxBytes int64
	// Classes are looked at in their order: the first that matches an event has it.
	Classes []Class

	digest string
}

// Class is a kind of events that are kept equally long.
type Class struct {
	Name string
	// Kinds are the kinds that it matches. Without any it matches what was done to something:
	// api, gateway and access. Alerts, actions and the trail's own events must be named.
	Kinds []audit.Kind
	// Search, where it is set, is an expression that must match too.
	Search string
	// Keep is how long its events are kept after they were received; 0 is for good.
	Keep time.Duration
	// MaxBytes is how many bytes of segments its events may take; 0 is any number.
	MaxBytes int64

	line int
}

// KeepText is Keep as a policy says it.
func (c *Class) KeepText() string {
	switch {
	case c.Keep == 0:
		return keepForever
	case c.Keep%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(c.Keep/(24*time.Hour)), 10) + "d"
	}
	return strconv.FormatInt(int64(c.Keep/time.Hour), 10) + "h"
}

const keepForever = "forever"

// Digest is the SHA-256 of the policy's text, as the log tells it of each pruning.
func (p *Policy) Digest() string { return p.digest }

// IsName reports whether a class, or a hold, may be called so.
func IsName(text string) bool { return name.MatchString(text) }

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) //nolint:gochecknoglobals // read only

// Parse reads a policy. What is wrong with it is told with its line in the file.
func Parse(file string, text []byte) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("%s: %d bytes are more than the %d that a policy may have", file, len(text), maxPolicy)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it is empty: a policy without classes would do nothing", file)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", file)
	}
	r := reader{file: file}
	p := &Policy{}
	r.policy(doc.Content[0], p)
	if r.err != nil {
		return nil, r.err
	}
	sum := sha256.Sum256(text)
	p.digest = "sha256:" + hex.EncodeToString(sum[:])
	return p, nil
}

// reader reads a policy's tree and keeps the first thing that is wrong.
type reader struct {
	file string
	err  error
}

func (r *reader) fail(at *yaml.Node, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s:%d: %s", r.file, at.Line, fmt.Sprintf(format, args...))
	}
}

// object calls the function of each key of a mapping.
func (r *reader) object(at *yaml.Node, what string, fields map[string]func(*yaml.Node)) {
	if at.Kind != yaml.MappingNode {
		r.fail(at, "expected %s: a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(at.Content) && r.err == nil; i += 2 {
		key, value := at.Content[i], at.Content[i+1]
		field := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || field == nil:
			r.fail(key, "%s has no key %.60q", what, key.Value)
		case seen[key.Value]:
			r.fail(key, "%s has the key %q twice", what, key.Value)
		default:
			seen[key.Value] = true
			field(value)
		}
	}
}

// text reads a scalar that is not empty.
func (r *reader) text(at *yaml.Node, what string) string {
	if at.Kind != yaml.ScalarNode || at.Value == "" || at.ShortTag() == "!!null" {
		r.fail(at, "expected %s", what)
		return ""
	}
	return at.Value
}

func (r *reader) policy(at *yaml.Node, p *Policy) {
	version := ""
	r.object(at, "a retention policy", map[string]func(*yaml.Node){
		"apiVersion": func(n *yaml.Node) { version = r.text(n, "bulwark.dev/v1alpha1") },
		"kind": func(n *yaml.Node) {
			if n.Value != "RetentionPolicy" {
				r.fail(n, "kind is %.60q, expected RetentionPolicy", n.Value)
			}
		},
		"maxBytes": func(n *yaml.Node) { p.MaxBytes = r.size(n) },
		"classes": func(n *yaml.Node) {
			if n.Kind != yaml.SequenceNode || len(n.Content) > maxClasses {
				r.fail(n, "expected a list of 1 to %d classes", maxClasses)
				return
			}
			for _, item := range n.Content {
				p.Classes = append(p.Classes, r.class(item))
			}
		},
	})
	if r.err == nil && version != "bulwark.dev/v1alpha1" {
		r.fail(at, "apiVersion is %.60q, expected bulwark.dev/v1alpha1", version)
	}
	if r.err == nil && len(p.Classes) == 0 {
		r.fail(at, "it has no classes: it would do nothing")
	}
	names := map[string]bool{}
	finite := false
	for i := range p.Classes {
		c := &p.Classes[i]
		if names[c.Name] {
			r.fail(&yaml.Node{Line: c.line}, "class %q is there twice", c.Name)
		}
		names[c.Name] = true
		finite = finite || c.Keep > 0
	}
	if p.MaxBytes > 0 && !finite {
		r.fail(at, "maxBytes takes events of classes that are not kept forever, and there is none")
	}
}

func (r *reader) class(at *yaml.Node) Class {
	c := Class{line: at.Line}
	kept := false
	r.object(at, "a class", map[string]func(*yaml.Node){
		"name": func(n *yaml.Node) {
			if c.Name = r.text(n, "a class's name"); !IsName(c.Name) {
				r.fail(n, "the name %.60q: expected at most 64 letters, digits, dots, dashes and underscores", c.Name)
			}
		},
		"kinds":    func(n *yaml.Node) { c.Kinds = r.kinds(n) },
		"search":   func(n *yaml.Node) { c.Search = r.text(n, "an expression of the search language") },
		"keep":     func(n *yaml.Node) { c.Keep, kept = r.keep(n), true },
		"maxBytes": func(n *yaml.Node) { c.MaxBytes = r.size(n) },
	})
	switch {
	case r.err != nil:
	case c.Name == "":
		r.fail(at, "a class needs a name")
	case !kept:
		r.fail(at, "class %q does not say how long it is kept: keep: 90d, or forever", c.Name)
	case c.Keep == 0 && c.MaxBytes > 0:
		r.fail(at, "class %q is kept forever, so maxBytes could never take anything", c.Name)
	}
	if len(c.Kinds) == 0 {
		c.Kinds = []audit.Kind{audit.KindAPI, audit.KindGateway, audit.KindAccess}
	}
	return c
}

func (r *reader) kinds(at *yaml.Node) []audit.Kind {
	if at.Kind != yaml.SequenceNode || len(at.Content) == 0 {
		r.fail(at, "expected a list of kinds: %v", audit.Kinds())
		return nil
	}
	var kinds []audit.Kind
	for _, item := range at.Content {
		kind := audit.Kind(r.text(item, "a kind"))
		if !slices.Contains(audit.Kinds(), kind) || slices.Contains(kinds, kind) {
			r.fail(item, "kind %.60q: expected some of %v, each once", kind, audit.Kinds())
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// keep reads how long: hours, days, weeks, or forever.
func (r *reader) keep(at *yaml.Node) time.Duration {
	text := r.text(at, "a time like 90d")
	if r.err != nil || text == keepForever {
		return 0
	}
	units := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	unit := units[text[len(text)-1]]
	count, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	if err != nil || unit == 0 || count <= 0 || count > int64(200*366*24*time.Hour/unit) || text[0] == '+' {
		r.fail(at, "keep is %.60q: expected hours, days or weeks (36h, 90d, 12w), at least 1h, or forever", text)
		return 0
	}
	return time.Duration(count) * unit
}

// size reads a number of bytes.
func (r *reader) size(at *yaml.Node) int64 {
	text := r.text(at, "a size like 200GiB")
	number, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			number, factor = strings.TrimSpace(rest), 1<<(10*(i+1))
		}
	}
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil || count <= 0 || count > math.MaxInt64/factor || number[0] == '+' {
		r.fail(at, "%.60q: expected a number of bytes, or of KiB, MiB, GiB or TiB", text)
		return 0
	}
	return count * factor
}

// Classifier says of an event which class of the policy has it; nil where none has. What
// a class searches for, compile makes ready.
func (p *Policy) Classifier(compile func(search string) (func(*audit.Event) bool, error)) (func(*audit.Event) *Class, error) {
	tests := make([]func(*audit.Event) bool, len(p.Classes))
	for i := range p.Classes {
		c := &p.Classes[i]
		if c.Search == "" {
			continue
		}
		var err error
		if tests[i], err = compile(c.Search); err != nil {
			return nil, fmt.Errorf("line %d: class %q: search: %w", c.line, c.Name, err)
		}
	}
	return func(e *audit.Event) *Class {
		for i := range p.Classes {
			if c := &p.Classes[i]; slices.Contains(c.Kinds, e.Kind) && (tests[i] == nil || tests[i](e)) {
				return c
			}
		}
		return nil
	}, nil
}
