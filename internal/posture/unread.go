package posture

import (
	"maps"
	"slices"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
)

// unreadKinds gives what could not be read kind by kind. Of a group of which not even
// the kinds are known it gives those that controls look at, and one that stands for
// any other: otherwise a group that does not answer would count as an empty one.
func (e *Engine) unreadKinds(all []inventory.Unreadable) []inventory.Unreadable {
	var out []inventory.Unreadable
	for _, u := range all {
		if u.Kind != "" {
			out = append(out, u)
			continue
		}
		kinds := map[string]bool{"Unread": true}
		if u.Group == "" {
			for _, k := range []string{"Pod", "ReplicationController", "ConfigMap", "Secret"} {
				kinds[k] = true
			}
		}
		for k, group := range carriers {
			if group == u.Group {
				kinds[k] = true
			}
		}
		for _, s := range e.opt.Single {
			c, ok := s.(*content.Control)
			if !ok {
				continue
			}
			for _, k := range c.AppliesTo.Kinds {
				if k.Group == u.Group {
					kinds[k.Kind] = true
				}
			}
		}
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			one := u
			one.Kind = k
			out = append(out, one)
		}
	}
	return out
}
