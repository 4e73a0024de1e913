package ir

// PathKind is how Match.Path is compared.
type PathKind string

// The kinds of path match, in order of precedence.
const (
	PathExact  PathKind = "exact"
	PathRegex  PathKind = "regex"
	PathPrefix PathKind = "prefix" // by whole segments; "/" matches all
)

// Match is one condition of one rule. All its parts must hold.
type Match struct {
	PathKind PathKind `json:"pathKind"`
	// Path is normalised like a request's path (message.NormalizePath), or is
	// an RE2 pattern that must match the whole path.
	Path string `json:"path"`
	// Method is empty for any.
	Method  string       `json:"method,omitempty"`
	Headers []ValueMatch `json:"headers,omitempty"`
	Query   []ValueMatch `json:"query,omitempty"`
	// Rule is the index in Table.Rules.
	Rule int `json:"rule"`
}

// ValueMatch compares one header or query parameter. A header that comes more
// than once is joined with "," first; of a repeated query parameter the first
// counts, as in Gateway API.
type ValueMatch struct {
	Name  string `json:"name"` // headers: lower-case
	Value string `json:"value"`
	Regex bool   `json:"regex,omitempty"`
}
