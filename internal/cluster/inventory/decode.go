package inventory

import (
	"k8s.io/apimachinery/pkg/util/json"
)

// decode reads JSON as the API server's unstructured objects do: whole numbers
// are int64.
func decode(text []byte) (map[string]any, error) {
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	return out, nil
}
