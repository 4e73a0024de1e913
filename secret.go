package bulwark

import (
	"fmt"
	"log/slog"
)

// Redacted is what every Secret prints.
const Redacted = "[redacted]"

// Secret holds bytes that no format verb, log or encoder can print. A closure
// keeps them: reflection-based printers do not look into functions.
type Secret struct{ reveal func() []byte }

// NewSecret wraps b. The caller gives b away and must not change it.
func NewSecret(b []byte) Secret { return Secret{reveal: func() []byte { return b }} }

// Reveal gives the bytes back. They are shared: do not change them. The zero
// Secret reveals nil.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Empty reports whether there is nothing to reveal.
func (s Secret) Empty() bool { return len(s.Reveal()) == 0 }

// String never reveals.
func (Secret) String() string { return Redacted }

// GoString never reveals.
func (Secret) GoString() string { return Redacted }

// Format never reveals, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// MarshalText never reveals; encoding/json and YAML use it.
func (Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue never reveals.
func (Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }
