package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

// most is how many requests may wait for their other side. At ten thousand a second and
// a grace of ten seconds all of them may.
const most = 100_000

// A stamp must be longer than what somebody chooses by accident, and leave room for 128
// bits: an API server takes 64 characters.
const (
	leastStamp = 3
	mostStamp  = 32
)

// ParseConfig reads a configuration in YAML. What it does not know it refuses.
func ParseConfig(text []byte) (Config, error) {
	var in struct {
		Stamp          string   `yaml:"stamp"`
		Proxy          string   `yaml:"proxy"`
		OwnCredentials bool     `yaml:"ownCredentials"`
		Direct         []string `yaml:"direct"`
		Unrecorded     []string `yaml:"unrecorded"`
		Grace          string   `yaml:"grace"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&in); err != nil {
		return Config{}, fmt.Errorf("read the configuration of reconciliation: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("read the configuration of reconciliation: expected one document")
	}
	wrong := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("read the configuration of reconciliation: %w", fmt.Errorf(format, args...))
	}
	grace, err := time.ParseDuration(in.Grace)
	switch {
	case len(in.Stamp) < leastStamp || len(in.Stamp) > mostStamp:
		return wrong("stamp %q: expected %d to %d characters, as the gateway's --audit-stamp has", in.Stamp, leastStamp, mostStamp)
	case in.Proxy == "" && !in.OwnCredentials || in.Proxy != "" && in.OwnCredentials:
		return wrong("expected proxy, the user as which Bulwark asks the API server, or ownCredentials: true, where callers show their own")
	case err != nil:
		return wrong("grace %q: %w", in.Grace, err)
	case grace <= 0:
		return wrong("grace %q: expected a positive time", in.Grace)
	}
	for _, list := range [][]string{in.Direct, in.Unrecorded} {
		for _, entry := range list {
			if entry == "" || entry == "*" || strings.Contains(strings.TrimSuffix(entry, "*"), "*") {
				return wrong("%q: expected a text, or the beginning of one and a star", entry)
			}
		}
	}
	return Config{Stamp: in.Stamp, Proxy: in.Proxy, Direct: in.Direct, Unrecorded: in.Unrecorded, Grace: grace, Most: most}, nil
}
