package inventory

// dropNulls takes fields that are null away, as decoding into the API's types does:
// a template that leaves "resources:" empty means that there are none. In a map of
// texts, as of labels, null is "". An element of a list stays.
func dropNulls(v any, name string) {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			switch {
			case e != nil:
				dropNulls(e, key)
			case textMap(name):
				v[key] = ""
			default:
				delete(v, key)
			}
		}
	case []any:
		for _, e := range v {
			dropNulls(e, name)
		}
	}
}

func textMap(name string) bool {
	switch name {
	case "labels", "annotations", "matchLabels", "nodeSelector", "data", "stringData", "binaryData":
		return true
	}
	return false
}
