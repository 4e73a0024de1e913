package chart

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// maxNodes is how many values one values file may have once its aliases are
// written out.
const maxNodes = 1_000_000

var errBomb = errors.New("aliases make it larger than a million values")

// checkText refuses YAML whose aliases make it grow without end.
func checkText(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	if nodes.Exceeds(&doc, maxNodes) {
		return errBomb
	}
	return nil
}
