package output

import (
	"bufio"
	"encoding/json"
)

// member is one field of a JSON object. write writes the value, whose further lines
// begin with indent.
type member struct {
	name  string
	write func(out *bufio.Writer, indent string) error
}

// writeObject writes a JSON object field by field, so that it never stands in memory
// as a whole: the findings of a large cluster are millions.
func writeObject(out *bufio.Writer, indent string, members []member) error {
	_ = out.WriteByte('{') // Flush says what failed, here and below
	for i, m := range members {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.WriteString("\n" + indent + "  \"" + m.name + "\": ")
		if err := m.write(out, indent+"  "); err != nil {
			return err
		}
	}
	_, err := out.WriteString("\n" + indent + "}")
	return err
}

// whole is a value that is small enough to be made at once.
func whole(v any) func(*bufio.Writer, string) error {
	return func(out *bufio.Writer, indent string) error {
		text, err := json.MarshalIndent(v, indent, "  ")
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
}

// each is a list of n values, made one after the other.
func each(n int, value func(i int) any) func(*bufio.Writer, string) error {
	return func(out *bufio.Writer, indent string) error {
		_ = out.WriteByte('[')
		for i := range n {
			if i > 0 {
				_ = out.WriteByte(',')
			}
			_, _ = out.WriteString("\n" + indent + "  ")
			if err := whole(value(i))(out, indent+"  "); err != nil {
				return err
			}
		}
		if n > 0 {
			_, _ = out.WriteString("\n" + indent)
		}
		return out.WriteByte(']')
	}
}
