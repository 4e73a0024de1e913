package bulwark

import "fmt"

// Severity says how much a finding matters. The zero Severity is none and not
// valid.
type Severity uint8

// The severities, from the least to the worst.
const (
	SeverityInfo Severity = iota + 1
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

var severities = [...]string{SeverityInfo: "info", SeverityLow: "low", SeverityMedium: "medium", SeverityHigh: "high", SeverityCritical: "critical"}

// Severities lists the names, from the least to the worst.
func Severities() []string { return append([]string(nil), severities[SeverityInfo:]...) }

// ParseSeverity gives the severity of a name, such as "high".
func ParseSeverity(name string) (Severity, error) {
	for s, n := range severities {
		if n == name && n != "" {
			return Severity(s), nil
		}
	}
	return 0, fmt.Errorf("%q is no severity: use info, low, medium, high or critical", name)
}

// String gives the name, or "none" for the zero Severity.
func (s Severity) String() string {
	if int(s) >= len(severities) || s == 0 {
		return "none"
	}
	return severities[s]
}

// MarshalText gives the name. The zero Severity is an error.
func (s Severity) MarshalText() ([]byte, error) {
	if int(s) >= len(severities) || s == 0 {
		return nil, fmt.Errorf("severity %d has no name", uint8(s))
	}
	return []byte(severities[s]), nil
}

// UnmarshalText reads a name.
func (s *Severity) UnmarshalText(text []byte) error {
	v, err := ParseSeverity(string(text))
	if err == nil {
		*s = v
	}
	return err
}
