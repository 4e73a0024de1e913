package witness

import (
	"strings"
	"testing"
)

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("old 0\n\nlog\n1\nAAAA\n\n— log AAAAAAAA\n"))
	f.Add([]byte("old 5\n" + strings.Repeat("A", 43) + "=\n\nlog\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		old, path, checkpoint, err := parseRequest(body)
		if err != nil {
			return
		}
		if len(path) > maxProofLines || len(checkpoint) > len(body) || !strings.HasPrefix(string(body), "old ") {
			t.Errorf("%q gives %d, %d lines and %q", body, old, len(path), checkpoint)
		}
	})
}
