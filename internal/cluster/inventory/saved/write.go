package saved

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

const (
	format  = "snapshot"
	version = 1
)

// header is the first line.
type header struct {
	Bulwark    string                 `json:"bulwark"`
	Version    int                    `json:"version"`
	Facts      inventory.Facts        `json:"facts"`
	Unreadable []inventory.Unreadable `json:"unreadable,omitempty"`
	Problems   []inventory.Problem    `json:"problems,omitempty"`
	Objects    int                    `json:"objects"`
}

// trailer is the last line.
type trailer struct {
	End *struct {
		Objects int    `json:"objects"`
		CRC32C  string `json:"crc32c"`
	} `json:"end"`
}

// Write writes a Snapshot. The values of Secrets are left out, here and in the
// annotation where kubectl keeps what was applied: a file that is passed on must
// not hand out a cluster's passwords. Their keys and types stay, and so do
// certificates, which are public.
func Write(w io.Writer, s *inventory.Snapshot) error {
	const buffer = 64 << 10
	out := bufio.NewWriterSize(w, buffer)
	objects := s.Objects()
	head, err := json.Marshal(header{format, version, s.Facts, s.Unreadable, s.Problems, len(objects)})
	if err != nil {
		return fmt.Errorf("write the header of a snapshot: %w", err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	both := io.MultiWriter(out, sum)
	if len(head) >= MaxObject {
		return fmt.Errorf("write the header of a snapshot: with its problems it has more than %d bytes, the limit of a line", MaxObject)
	}
	_, _ = both.Write(append(head, '\n')) // Flush gives the error
	var line bytes.Buffer
	for _, o := range objects {
		text, err := masked(o)
		if err != nil {
			return fmt.Errorf("write %s: %w", o, err)
		}
		line.Reset()
		if bytes.IndexByte(text, '\n') < 0 {
			line.Write(text)
		} else if err := json.Compact(&line, text); err != nil {
			return fmt.Errorf("write %s: %w", o, err)
		}
		if line.Len() >= MaxObject {
			return fmt.Errorf("write %s: it has more than %d bytes, the limit of a line", o, MaxObject)
		}
		line.WriteByte('\n')
		if _, err := both.Write(line.Bytes()); err != nil {
			return fmt.Errorf("write a snapshot: %w", err)
		}
	}
	_, _ = fmt.Fprintf(out, `{"end":{"objects":%d,"crc32c":"%08x"}}`+"\n", len(objects), sum.Sum32())
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}
