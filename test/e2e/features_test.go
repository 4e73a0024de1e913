package e2e

import (
	"strings"
	"testing"
)

// feature is one part of a SecurityPolicy on a route of its own, /NAME.
type feature struct {
	name   string
	policy string   // YAML of the spec without targetRefs
	more   string   // YAML of what it needs beside it
	shows  []string // the fields that try proves, as fieldsOf writes them
	// try is called when the route is in force. path begins with /NAME.
	try func(t *testing.T, l *lab, path string)
}

// TestFeatures shows every field of a SecurityPolicy at work in the cluster.
func TestFeatures(t *testing.T) {
	quiet(t)
	l := newLab(t, "lab")
	features := concat(credentialFeatures(t, l), certificateFeatures(t, l), trafficFeatures(), formFeatures(), targetFeatures())
	shown := map[string]bool{}
	var yaml strings.Builder
	var names []string
	for _, f := range features {
		yaml.WriteString(f.more)
		if f.policy != "" {
			yaml.WriteString(route(l.ns, "lab", f.name, f.policy))
			names = append(names, f.name)
		}
		for _, s := range f.shows {
			shown[s] = true
		}
	}
	apply(t, yaml.String())
	accepted(t, l.ns, names...)
	served(t, l.ns, len(features))
	before := asked.Load()
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) {
			from := asked.Load()
			of := *l
			of.t = t
			f.try(t, &of, "/"+f.name)
			if asked.Load() == from {
				t.Error("nothing was asked")
			}
		})
	}
	if n := asked.Load() - before; n < 120 {
		t.Errorf("%d answers were compared: too few to prove anything", n)
	}
	demanded(t, shown)
}

func concat(lists ...[]feature) []feature {
	var out []feature
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// under puts a prefix before paths of fields.
func under(prefix string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}
