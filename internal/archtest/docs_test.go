package archtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestChangelog(t *testing.T) {
	t.Parallel()
	_, unreleased, found := strings.Cut(string(read(t, "CHANGELOG.md")), "\n## [Unreleased]\n")
	if !found {
		t.Fatal(`CHANGELOG.md has no "## [Unreleased]" section`)
	}
	unreleased, _, _ = strings.Cut(unreleased, "\n## [")
	known := map[string]bool{"Security": true, "Added": true, "Changed": true, "Deprecated": true, "Removed": true, "Fixed": true}
	for i, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(unreleased, -1) {
		if !known[m[1]] {
			t.Errorf("CHANGELOG.md: section %q is not one of Keep a Changelog's", m[1])
		}
		if m[1] == "Security" && i > 0 {
			t.Error("CHANGELOG.md: Security comes first")
		}
	}
}

// TestDecisionRecords: one page each, numbered without gaps, with the three
// parts that make it worth reading later.
func TestDecisionRecords(t *testing.T) {
	t.Parallel()
	n := 0
	for _, file := range files(t, ".md") {
		if path.Dir(file) != "docs/adr" {
			continue
		}
		n++
		if want := fmt.Sprintf("%04d-", n); !strings.HasPrefix(path.Base(file), want) {
			t.Errorf("%s: its number should be %s", file, want)
		}
		body := string(read(t, file))
		for _, part := range []string{"# ", "\n## Context\n", "\n## Choice\n", "\n## What we give up\n"} {
			if !strings.Contains(body, part) {
				t.Errorf("%s: no %q", file, strings.TrimSpace(part))
			}
		}
		if lines := strings.Count(body, "\n"); lines > 90 {
			t.Errorf("%s: %d lines; a record is one page", file, lines)
		}
	}
	if n < 6 {
		t.Fatalf("found only %d records", n)
	}
}

// TestLibrariesAreChosen: each library that the main module asks for by itself
// is named, with the reason, in a decision record.
func TestLibrariesAreChosen(t *testing.T) {
	t.Parallel()
	var records strings.Builder
	for _, file := range files(t, ".md") {
		if path.Dir(file) == "docs/adr" {
			records.Write(read(t, file))
		}
	}
	direct := regexp.MustCompile(`(?m)^(?:require |\t)(\S+) v\S+$`).FindAllStringSubmatch(string(read(t, "go.mod")), -1)
	if len(direct) < 10 {
		t.Fatalf("read only %d direct requirements from go.mod", len(direct))
	}
	for _, m := range direct {
		if !strings.Contains(records.String(), "`"+m[1]+"`") {
			t.Errorf("go.mod requires %s, and no record in docs/adr says why", m[1])
		}
	}
}

// TestGeneratedFilesSaySo: who opens one learns how to remake it.
func TestGeneratedFilesSaySo(t *testing.T) {
	t.Parallel()
	ran := map[string]int{}
	for _, file := range files(t, ".go", ".json", ".md", ".yaml") {
		var kind string
		switch {
		case strings.HasPrefix(path.Base(file), "zz_generated.") && strings.HasSuffix(file, ".go"):
			kind = "Code generated"
		case strings.HasPrefix(path.Base(file), "zz_generated."):
			kind = "make gen"
		case strings.HasPrefix(file, "deploy/crds/"):
			kind = "controller-gen"
		case strings.HasPrefix(file, "docs/reference/"):
			kind = "make gen"
		default:
			continue
		}
		ran[kind]++
		head, _, _ := strings.Cut(string(read(t, file)), "\nspec:")
		if !strings.Contains(head[:min(len(head), 600)], kind) {
			t.Errorf("%s: its first lines do not say %q", file, kind)
		}
	}
	if len(ran) != 3 {
		t.Errorf("checked %v: want Go code, CRDs and pages or data", ran)
	}
}

// TestNoMachinePaths: what is written here is true on every machine.
func TestNoMachinePaths(t *testing.T) {
	t.Parallel()
	local := regexp.MustCompile(`/(?:root|home/[a-z]+|Users/[A-Za-z]+|work)/[\w.]`)
	for _, file := range files(t, ".go", ".md", ".yaml", ".yml", ".sh", "Makefile", "Dockerfile", "go.mod") {
		if m := local.Find(read(t, file)); m != nil && path.Dir(file) != "internal/archtest" {
			t.Errorf("%s: names a directory of one machine: %s", file, m)
		}
	}
}

// TestLinksResolve: a relative link in a page leads to a file or folder that is
// there.
func TestLinksResolve(t *testing.T) {
	t.Parallel()
	link, checked := regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`), 0
	for _, file := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(string(read(t, file)), -1) {
			checked++
			target := filepath.Join(repoRoot(t), filepath.FromSlash(path.Join(path.Dir(file), m[1])))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s leads nowhere", file, m[1])
			}
		}
	}
	if checked < 10 {
		t.Errorf("checked only %d links", checked)
	}
}
