package archtest

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// foreign are the folders whose modules pin programs of other people: each of them is
// built as its authors do.
var foreign = []string{"tools", "test/peers"}

// TestModulesAgree wants one version of each library in all of our modules. With two, it
// is compiled twice, and so is all that imports it, up to most of Kubernetes.
func TestModulesAgree(t *testing.T) {
	of := map[string]map[string][]string{} // library, version, modules
	modules := 0
	for _, file := range files(t, "go.mod") {
		dir := path.Dir(file)
		if slices.ContainsFunc(foreign, func(f string) bool { return dir == f || strings.HasPrefix(dir, f+"/") }) {
			continue
		}
		modules++
		for library, version := range required(t, file) {
			if of[library] == nil {
				of[library] = map[string][]string{}
			}
			of[library][version] = append(of[library][version], dir)
		}
	}
	if modules < 6 || len(of) < 200 {
		t.Fatalf("%d modules with %d libraries were read", modules, len(of))
	}
	for _, library := range slices.Sorted(maps.Keys(of)) {
		if len(of[library]) > 1 {
			t.Errorf("%s has more than one version; raise the older ones, then go mod tidy: %v", library, of[library])
		}
	}
}

// required gives the version of each library that one go.mod names, replacements applied;
// what is replaced by a folder of this repository is left out.
func required(t *testing.T, file string) map[string]string {
	t.Helper()
	mod, err := modfile.Parse(file, read(t, file), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range mod.Require {
		all[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range mod.Replace {
		if _, named := all[r.Old.Path]; !named {
			continue
		}
		if all[r.Old.Path] = r.New.Version; r.New.Version == "" {
			delete(all, r.Old.Path)
		}
	}
	return all
}
