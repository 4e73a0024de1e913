package app

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// Every YAML block of the guide loads and would be served as asked for.
func TestGuide(t *testing.T) {
	pages, err := filepath.Glob("../../docs/guide/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		if filepath.Base(page) == "posture.md" {
			continue // TestPostureGuide runs it: its objects are not the gateway's
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "```yaml\n") {
			if i == 0 {
				continue
			}
			block, _, ok := strings.Cut(part, "```")
			if !ok {
				t.Fatalf("%s: a block without end", page)
			}
			file := filepath.Join(t.TempDir(), "guide.yaml")
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			snap, err := cluster.LoadFiles([]string{file})
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			if _, report := compileOnly(&Env{Now: time.Now, Random: rand.Uint64}, snap, compile.Options{}); !report.OK() {
				t.Errorf("%s:\n%s", page, report)
			}
			ran++
		}
	}
	if ran == 0 {
		t.Error("the guide has no example")
	}
}
