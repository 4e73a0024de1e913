package content

import (
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// sorted hands JSON values to CEL so that objects are walked in the order of their
// keys: a message that lists labels is the same in every run.
type sorted struct{ types.Adapter }

// NativeToValue gives the value of CEL.
func (s sorted) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		return &sortedMap{types.NewStringInterfaceMap(s, v), v}
	case []any:
		return types.NewDynamicList(s, v)
	}
	return s.Adapter.NativeToValue(v)
}

// sortedMap is an object of JSON.
type sortedMap struct {
	traits.Mapper
	of map[string]any
}

// Iterator walks the keys in order.
func (m *sortedMap) Iterator() traits.Iterator {
	keys := slices.Sorted(maps.Keys(m.of))
	return types.NewStringList(types.DefaultTypeAdapter, keys).Iterator()
}
