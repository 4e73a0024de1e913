package fix

import (
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// The last proof for a file of manifests compares what kubectl's library reads, so
// that a mistake of the splicing cannot reach the file.
func TestExactly(t *testing.T) {
	t.Parallel()
	const (
		a = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: true, hostIPC: true}\n"
		b = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {hostPID: true}\n"
	)
	path, err := fieldpath.Parse("spec.hostPID")
	if err != nil {
		t.Fatal(err)
	}
	off := map[int][]splice.Edit{0: {{Path: path, Value: false}}}
	for _, tt := range []struct {
		name, after string
		edits       map[int][]splice.Edit
		want        string
	}{
		{"as it should", strings.Replace(a, "hostPID: true", "hostPID: false", 1) + b, off, ""},
		{"as YAML 1.1 has it", strings.Replace(a, "hostPID: true", "hostPID: off", 1) + b, off, ""},
		{"not made", a + b, off, "spec.hostPID of Pod a would not be"},
		{"more", strings.ReplaceAll(a, "true", "false") + b, off, "spec.hostIPC of Pod a would not be"},
		{"another object", strings.Replace(a, "hostPID: true", "hostPID: false", 1) + strings.Replace(b, "true", "false", 1), off, "Pod b would change too"},
		{"an object is gone", strings.Replace(a, "hostPID: true", "hostPID: false", 1), off, "other objects"},
		{"nothing asked", a + strings.Replace(b, "true", "false", 1), nil, "Pod b would change too"},
		{"nothing asked, nothing done", "# more\n" + a + b, nil, ""},
	} {
		before, problems := manifest.Decode("f.yaml", []byte(a+b))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		after, _ := manifest.Decode("f.yaml", []byte(tt.after))
		if got := exactly(before, after, tt.edits); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
