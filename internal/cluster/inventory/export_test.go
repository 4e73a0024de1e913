package inventory

// Decode gives an object's content without defaults.
func Decode(o *Object) (map[string]any, error) { return decode(o.raw) }

// PullPolicy is that of a container with an image.
func PullPolicy(image string) string { return pullPolicy(image) }
