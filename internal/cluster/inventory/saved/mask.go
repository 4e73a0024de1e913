package saved

import (
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

// masked gives an object's text, that of a Secret without its values. In a file the
// kind may be written as no API server takes it, and hold a password all the same.
func masked(o *inventory.Object) ([]byte, error) {
	if !strings.EqualFold(o.Kind, "Secret") || o.Group() != "" && o.Group() != "core" {
		return o.Raw(), nil
	}
	return redact.Secret(o.Raw())
}
