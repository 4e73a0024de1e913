package output

import (
	_ "embed"
	"encoding/json"
	"io"
)

// Schema is the JSON Schema of a Document as JSON.
//
//go:embed scan.schema.json
var Schema []byte

// asJSON writes the document as docs/reference/scan-json.md says.
func asJSON(w io.Writer, d *Document, _ Options) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	out := *d
	// Lists that are empty are lists, so that readers need no case for null.
	out.Inputs = list(out.Inputs)
	out.FixFirst = list(out.FixFirst)
	out.Findings = list(out.Findings)
	out.Controls = list(out.Controls)
	out.Frameworks = list(out.Frameworks)
	out.Unreadable = list(out.Unreadable)
	out.Problems = list(out.Problems)
	return enc.Encode(&out)
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
