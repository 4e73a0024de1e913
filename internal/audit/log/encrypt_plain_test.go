package log

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// TestPlainTold: a plain file beside encrypted ones is told of when the log is opened,
// whether it is sealed or not; a log that is all of one kind is none of this.
func TestPlainTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		grow func(t *testing.T, cfg Config) // with the keys "" and oldKey
		want string                         // the first plain file
		of   string
	}{
		"all plain": {grow: func(t *testing.T, cfg Config) {
			t.Helper()
			growLog(t, cfg, vault.Keys{}, "a", true)
			growLog(t, cfg, vault.Keys{}, "b", false)
		}},
		"all encrypted": {grow: func(t *testing.T, cfg Config) {
			t.Helper()
			growLog(t, cfg, someKeys(), "a", true)
			growLog(t, cfg, someKeys(), "b", false)
		}},
		"a segment that was exchanged": {want: ".parquet", of: "1 of ", grow: func(t *testing.T, cfg Config) {
			t.Helper()
			growLog(t, cfg, someKeys(), "a", true)
			growLog(t, cfg, someKeys(), "b", true)
			exchange(t, cfg, 1)
			growLog(t, cfg, someKeys(), "c", false)
		}},
		"never rotated": {want: ".parquet", of: "1 of ", grow: func(t *testing.T, cfg Config) {
			t.Helper()
			growLog(t, cfg, vault.Keys{}, "a", true)
			growLog(t, cfg, someKeys(), "b", true)
		}},
		"what is not sealed": {want: ".wal", of: "1 of ", grow: func(t *testing.T, cfg Config) {
			t.Helper()
			growLog(t, cfg, vault.Keys{}, "a", true)
			growLog(t, cfg, vault.Keys{}, "b", false)
			if _, err := Rotate(t.Context(), RotateConfig{Dir: cfg.Dir, Keys: someKeys(), Random: cfg.Random}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			tt.grow(t, cfg)
			m, err := Survey(cfg.Dir, someKeys())
			if err != nil || (m.Err() != nil) != (tt.want != "") {
				t.Errorf("%+v, %v", m, err)
			}
			told := make(chan Trouble, 16)
			cfg.Keys, cfg.OnTrouble = someKeys(), func(tr Trouble) { told <- tr }
			l := mustOpen(t, cfg)
			if tt.want == "" {
				// What is told of in the background would have been told of by this.
				l.lookForPlain(t.Context(), Mixture{})
				if s := l.Stats(); s.Troubles > 0 {
					t.Error(s.LastTrouble)
				}
				return
			}
			for _, err := range []error{m.Err(), (<-told).Err} {
				if err == nil || !strings.Contains(err.Error(), tt.of) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "audit key rotate") {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// exchange puts a plain file in the place of the n-th segment, with the same events.
func exchange(t *testing.T, cfg Config, n int) {
	t.Helper()
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: someKeys()})
	if err != nil {
		t.Fatal(err)
	}
	segments, err := v.Segments()
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.OpenSegment(segments[n])
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	if _, err := io.Copy(&plain, io.NewSectionReader(f, 0, f.Size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments[n].Path, plain.Bytes(), fileMode); err != nil {
		t.Fatal(err)
	}
}
