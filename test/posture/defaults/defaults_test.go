// Package defaults holds inventory.Default to a real API server: every object of
// testdata is created there as a dry run, and what comes back must have just the
// fields that Default fills in.
package defaults

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{})) }

// own are the fields that a server gives an object and that are no defaults:
// what it hands out, what admission adds, and what it counts.
var own = regexp.MustCompile(`^(` + strings.Join([]string{
	`metadata\.(uid|creationTimestamp|generation|managedFields|namespace|resourceVersion|selfLink|finalizers|annotations)`,
	`status`,
	`spec\.(clusterIP|clusterIPs|ipFamilies|ipFamilyPolicy|healthCheckNodePort)`, // Service
	`spec\.ports\[\d+\]\.nodePort`,
	`spec\.(tolerations|priority|preemptionPolicy)`, // Pod
	`spec\.finalizers`,                              // Namespace
	`spec\.selector`,                                // Job
	`spec\.template\.metadata\.labels`,              // Job
	`spec\.volumeClaimTemplates\[\d+\]\.(status|kind|apiVersion)`,
	`metadata\.labels\.(batch\.kubernetes\.io/)?(controller-uid|job-name)$`, // Job
	`endpoints\[\d+\]\.conditions`,
	`spec\.jobTemplate\.(spec\.template\.)?metadata$`, // empty
	`spec\.volumes\[\d+\]\.ephemeral\.volumeClaimTemplate\.metadata$`,
}, `|`) + `)`)

func TestDefaults(t *testing.T) {
	controltest.Until(t, "the ServiceAccount of new pods", func() error {
		_, err := controltest.TryKubectl(t.Context(), nil, "get", "serviceaccount", "default", "-n", "default")
		return err
	})
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds, filled := map[string]int{}, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, problems := manifest.Decode(file, text)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, o := range objects {
			kinds[o.Kind]++
			t.Run(o.Kind+"/"+o.Name, func(t *testing.T) { filled += compare(t, o) })
		}
	}
	t.Logf("compared %d kinds, %d fields: %v", len(kinds), filled, kinds)
	if len(kinds) < 25 || filled < 300 {
		t.Errorf("compared only %d kinds and %d fields", len(kinds), filled)
	}
}

// compare gives how many fields were filled in.
func compare(t *testing.T, o *inventory.Object) int {
	t.Helper()
	out, err := controltest.TryKubectl(t.Context(), strings.NewReader(string(o.Raw())), "create", "--dry-run=server", "-o", "json", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	server, given := fields(t, []byte(out)), fields(t, o.Raw())
	content, err := o.Content()
	if err != nil {
		t.Fatal(err)
	}
	ours := flat(content)
	n := 0
	for _, path := range slices.Sorted(maps.Keys(ours)) {
		was, written := given[path]
		if written && reflect.DeepEqual(was, ours[path]) {
			continue
		}
		n++
		if got, ok := server[path]; !ok || !reflect.DeepEqual(got, ours[path]) {
			t.Errorf("%s: filled in %v, the server has %v (there: %v)", path, ours[path], got, ok)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(server)) {
		_, ok := ours[path]
		// What is empty there has only empty objects here, which are not written.
		if !ok && server[path] == "{}" {
			ok = slices.ContainsFunc(slices.Collect(maps.Keys(ours)), func(p string) bool { return strings.HasPrefix(p, path+".") })
		}
		if !ok && !own.MatchString(path) {
			t.Errorf("%s: the server has %v, and Default does not", path, server[path])
		}
	}
	for path := range given {
		_, kept := server[path]
		if _, ok := ours[path]; kept && !ok {
			t.Errorf("%s: Default took it away, the server did not", path)
		}
	}
	return n
}

func fields(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var content map[string]any
	if err := utiljson.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	return flat(content)
}

// flat gives the scalars, and the empty lists and objects, by their paths.
func flat(content map[string]any) map[string]any {
	out := map[string]any{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			if len(v) == 0 {
				out[path] = "{}"
			}
			for key, e := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), e)
			}
		case []any:
			if len(v) == 0 {
				out[path] = "[]"
			}
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		default:
			out[path] = v
		}
	}
	walk("", content)
	return out
}
