package output

import (
	"bufio"
	_ "embed"
	"io"
)

// Schema is the JSON Schema of a Document as JSON.
//
//go:embed scan.schema.json
var Schema []byte

// asJSON writes the document as docs/reference/scan-json.md says. Lists that are
// empty are lists, so that readers need no case for null.
func asJSON(w io.Writer, d *Document, _ Options) error {
	out := bufio.NewWriter(w)
	err := writeObject(out, "", []member{
		{"version", whole(d.Version)},
		{"tool", whole(d.Tool)},
		{"time", whole(d.Time)},
		{"inputs", whole(list(d.Inputs))},
		{"cluster", whole(d.Cluster)},
		{"summary", whole(d.Summary)},
		{"fixFirst", whole(list(d.FixFirst))},
		{"findings", each(len(d.Findings), func(i int) any { return &d.Findings[i] })},
		{"controls", whole(list(d.Controls))},
		{"frameworks", whole(list(d.Frameworks))},
		{"unreadable", whole(list(d.Unreadable))},
		{"problems", whole(list(d.Problems))},
	})
	if err != nil {
		return err
	}
	_ = out.WriteByte('\n')
	return out.Flush()
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
