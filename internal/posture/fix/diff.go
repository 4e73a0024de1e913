package fix

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff writes the changes as one patch that `git apply` and `patch -p1` take. The
// paths are those of the files; of an absolute one the leading slash is left out.
func (p *Plan) Diff(w io.Writer) error {
	for _, f := range p.Files {
		if _, err := w.Write(f.diff()); err != nil {
			return fmt.Errorf("write the patch: %w", err)
		}
	}
	return nil
}

func (f File) diff() []byte {
	path := strings.TrimPrefix(filepath.ToSlash(filepath.Clean(f.Path)), "/")
	from, to := named("a/"+path), named("b/"+path)
	body := diff.Diff("a", f.Old, "b", f.New)
	_, hunks, ok := bytes.Cut(body, []byte("\n@@ "))
	if !ok {
		return nil
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "diff --git %s %s\n", from, to)
	if f.Old == nil {
		fmt.Fprintf(&out, "new file mode 100644\n--- /dev/null\n")
	} else {
		fmt.Fprintf(&out, "--- %s%s\n", from, tail(from))
	}
	fmt.Fprintf(&out, "+++ %s%s\n@@ ", to, tail(to))
	out.Write(hunks)
	return out.Bytes()
}

// named quotes a path as git does where a plain one could be misread.
func named(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r == 0x7f }) {
		return strconv.Quote(path)
	}
	return path
}

// tail ends a name that has spaces in it, so that it is not cut at the first.
func tail(name string) string {
	if strings.Contains(name, " ") && !strings.HasPrefix(name, `"`) {
		return "\t"
	}
	return ""
}
