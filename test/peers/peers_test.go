package peers

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPinHash: a peer is built anew when its pins or its own sources change, and only then.
func TestPinHash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := pinHash(dir); err == nil {
		t.Error("a folder without go.mod has a hash")
	}
	seen := map[string]string{}
	for _, step := range []struct{ file, text string }{
		{"go.mod", "module a\n"},
		{"go.sum", ""},
		{"main.go", "package main\n"},
		{"main.go", "package main // another\n"},
		{"more.go", "package main\n"},
		{"go.sum", "x\n"},
	} {
		if err := os.WriteFile(filepath.Join(dir, step.file), []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		hash, err := pinHash(dir)
		if step.file == "go.mod" {
			if err == nil {
				t.Error("a folder without go.sum has a hash")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if before, there := seen[hash]; there {
			t.Errorf("after %s the hash is the one after %s", step.file, before)
		}
		seen[hash] = step.file
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("said"), 0o600); err != nil {
		t.Fatal(err)
	}
	if hash, err := pinHash(dir); err != nil || seen[hash] == "" {
		t.Errorf("a page beside the sources changes the hash: %v", err)
	}
}
