package saved

import (
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

// masked gives an object's text, that of a Secret without its values.
func masked(o *inventory.Object) ([]byte, error) {
	if o.Kind != "Secret" || o.Group() != "" {
		return o.Raw(), nil
	}
	return redact.Secret(o.Raw())
}
