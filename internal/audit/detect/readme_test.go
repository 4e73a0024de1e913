package detect

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// TestReadme runs the examples of the form's description.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(catalog.Detections(), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	set := mustLoad(t, append(blocks, one("secret-read", "{verb: get, objectRef.resource: secrets}", "bulwark: {quiet: true}"))...)
	if found := set.Lint(); len(blocks) != 3 || len(set.Rules) != 4 || len(found) != 0 {
		t.Fatalf("%d blocks, %d rules, %+v", len(blocks), len(set.Rules), found)
	}
	d := &ingest.Decoder{Source: "import", Now: func() time.Time { return start() }, Redact: func(*audit.Event) []audit.Opening { return nil }}
	results := set.Test(d.Decode)
	for _, r := range results {
		if !r.OK() {
			t.Errorf("%+v", r)
		}
	}
	if len(results) != 2 {
		t.Errorf("%d tests ran", len(results))
	}
	// All modifiers are named.
	rule, err := sigma.Parse("x", []byte(one("a", "{verb|nonsense: x}")))
	if err == nil || len(rule) > 0 {
		t.Fatal("an unknown modifier was read")
	}
	_, list, _ := strings.Cut(err.Error(), "there are ")
	names := strings.Split(list, ", ")
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the modifier %s is not described", name)
		}
	}
	if len(names) != 31 {
		t.Errorf("%d modifiers: %q", len(names), names)
	}
}
