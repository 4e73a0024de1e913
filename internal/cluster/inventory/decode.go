package inventory

import (
	"errors"
	"fmt"

	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
)

// decode reads JSON as the API server's unstructured objects do: whole numbers
// are int64.
func decode(text []byte) (map[string]any, error) {
	v, err := jsonscan.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("decode: is no object")
	}
	return out, nil
}
