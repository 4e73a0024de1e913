package output

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"io"
)

// Schema is the JSON Schema of a Document as JSON.
//
//go:embed scan.schema.json
var Schema []byte

// asJSON writes the document as docs/reference/scan-json.md says. The findings go
// out one by one: a large cluster has millions.
func asJSON(w io.Writer, d *Document, _ Options) error {
	out := bufio.NewWriter(w)
	for i, f := range []struct {
		name  string
		value any
	}{
		{"version", d.Version},
		{"tool", d.Tool},
		{"time", d.Time},
		{"inputs", list(d.Inputs)}, // lists that are empty are lists, so that readers need no case for null
		{"cluster", d.Cluster},
		{"summary", d.Summary},
		{"fixFirst", list(d.FixFirst)},
		{"findings", nil},
		{"controls", list(d.Controls)},
		{"frameworks", list(d.Frameworks)},
		{"unreadable", list(d.Unreadable)},
		{"problems", list(d.Problems)},
	} {
		before := ",\n"
		if i == 0 {
			before = "{\n"
		}
		_, _ = out.WriteString(before + "  \"" + f.name + "\": ")
		if f.name == "findings" {
			if err := writeFindings(out, d.Findings); err != nil {
				return err
			}
			continue
		}
		text, err := json.MarshalIndent(f.value, "  ", "  ")
		if err != nil {
			return err
		}
		_, _ = out.Write(text) // Flush says what failed
	}
	_, _ = out.WriteString("\n}\n")
	return out.Flush()
}

func writeFindings(out *bufio.Writer, all []Finding) error {
	_ = out.WriteByte('[')
	for i := range all {
		text, err := json.MarshalIndent(&all[i], "    ", "  ")
		if err != nil {
			return err
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.WriteString("\n    ")
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	if len(all) > 0 {
		_, _ = out.WriteString("\n  ")
	}
	return out.WriteByte(']')
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
