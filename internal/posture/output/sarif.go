package output

import (
	"bufio"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"bulwark.dev/bulwark"
)

// The parts of SARIF 2.1.0 that are written.
type (
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		Version         string      `json:"version,omitempty"`
		InformationURI  string      `json:"informationUri"`
		Rules           []sarifRule `json:"rules"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
	}
	sarifRule struct {
		ID         string          `json:"id"`
		Short      sarifText       `json:"shortDescription"`
		Full       *sarifText      `json:"fullDescription,omitempty"`
		Help       *sarifText      `json:"help,omitempty"`
		HelpURI    string          `json:"helpUri,omitempty"`
		Config     sarifConfig     `json:"defaultConfiguration"`
		Properties sarifProperties `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifProperties struct {
		Tags     []string `json:"tags"`
		Severity string   `json:"security-severity"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		EndTime       string              `json:"endTimeUtc"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifBase struct {
		Description sarifText `json:"description"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Related      []sarifLocation    `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Baseline     string             `json:"baselineState,omitempty"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

const (
	home    = "https://bulwark.dev"
	srcRoot = "SRCROOT"
)

// sarif writes one run. originalUriBaseIds names SRCROOT, the folder that relative
// addresses begin at; who reads the file knows where it is.
func sarif(w io.Writer, d *Document, _ Options) error {
	rules, index := sarifRules(d)
	run := []member{
		{"tool", whole(sarifTool{sarifDriver{Name: d.Tool.Name, Version: strings.TrimPrefix(d.Tool.Version, "v"), InformationURI: home, Rules: rules}})},
		{"invocations", whole([]sarifInvocation{{
			Successful: true, EndTime: d.Time.Format("2006-01-02T15:04:05Z"), Notifications: notifications(d),
		}})},
		{"originalUriBaseIds", whole(map[string]sarifBase{srcRoot: {sarifText{"The folder in which the scan ran"}}})},
		{"columnKind", whole("unicodeCodePoints")},
		{"results", each(len(d.Findings), func(i int) any { return d.sarifResult(&d.Findings[i], index) })},
	}
	out := bufio.NewWriter(w)
	err := writeObject(out, "", []member{
		{"$schema", whole("https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")},
		{"version", whole("2.1.0")},
		{"runs", func(out *bufio.Writer, indent string) error {
			_, _ = out.WriteString("[\n" + indent + "  ")
			if err := writeObject(out, indent+"  ", run); err != nil {
				return err
			}
			_, err := out.WriteString("\n" + indent + "]")
			return err
		}},
	})
	if err != nil {
		return err
	}
	_ = out.WriteByte('\n')
	return out.Flush()
}

func (d *Document) sarifResult(f *Finding, rules map[string]int) *sarifResult {
	r := &sarifResult{
		RuleID: f.Control, RuleIndex: rules[f.Control], Kind: "fail", Level: sarifLevel(f.Severity),
		Message:      sarifText{sarifMessage(f)},
		Locations:    []sarifLocation{{Physical: physical(f.Location), Logical: []sarifLogical{logical(f.Object, f.Field)}}},
		Fingerprints: map[string]string{"bulwark/v1": f.Fingerprint},
	}
	for _, o := range f.Related {
		r.Related = append(r.Related, sarifLocation{Logical: []sarifLogical{logical(o, "")}})
	}
	switch f.Verdict {
	case bulwark.VerdictUnknown:
		r.Kind, r.Level = "open", "none" // not judged: neither pass nor fail
	case bulwark.VerdictExcepted:
		r.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: f.Reason}}
	case bulwark.VerdictFail, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
	}
	if d.Summary.Baseline != nil {
		r.Baseline = "new"
	}
	return r
}

func sarifRules(d *Document) ([]sarifRule, map[string]int) {
	rules, index, meta := []sarifRule{}, map[string]int{}, d.meta()
	for i := range d.Findings {
		id := d.Findings[i].Control
		if _, ok := index[id]; ok {
			continue
		}
		m := meta[id]
		r := sarifRule{
			ID: id, Short: sarifText{or(m.Title, id)}, Config: sarifConfig{sarifLevel(m.Severity)},
			Properties: sarifProperties{Tags: []string{"security", "kubernetes"}, Severity: sarifScore(m.Severity)},
		}
		if m.Category != "" {
			r.Properties.Tags = append(r.Properties.Tags, m.Category)
		}
		if m.Why != "" {
			r.Full = &sarifText{m.Why}
		}
		if m.Remediation != "" {
			r.Help = &sarifText{m.Remediation}
		}
		if len(m.References) > 0 {
			r.HelpURI = m.References[0]
		}
		index[id] = len(rules)
		rules = append(rules, r)
	}
	return rules, index
}

func sarifMessage(f *Finding) string {
	text := f.Message
	if f.Verdict == bulwark.VerdictUnknown {
		text = "Could not be judged: " + or(f.Reason, f.Message)
	}
	return or(text, f.Title) + " [" + subject(f.Object) + "]"
}

func notifications(d *Document) []sarifNotification {
	var out []sarifNotification
	for _, p := range d.Problems {
		n := sarifNotification{Level: "warning", Message: sarifText{p.What}}
		if at := physical(p.Location); at != nil {
			n.Locations = []sarifLocation{{Physical: at}}
		}
		out = append(out, n)
	}
	for _, u := range d.Unreadable {
		out = append(out, sarifNotification{Level: "warning", Message: sarifText{"could not read " + kindName(u.Group, u.Kind, u.Namespace) + ": " + u.Reason}})
	}
	return out
}

func kindName(group, kind, namespace string) string {
	if group != "" {
		kind += "." + group
	}
	if namespace != "" {
		kind += " in " + namespace
	}
	return kind
}

func sarifLevel(s bulwark.Severity) string {
	switch s {
	case bulwark.SeverityCritical, bulwark.SeverityHigh:
		return "error"
	case bulwark.SeverityMedium:
		return "warning"
	case bulwark.SeverityLow, bulwark.SeverityInfo:
	}
	return "note"
}

// sarifScore is what code scanning sorts by: a number in the ranges that GitHub
// names critical, high, medium and low.
func sarifScore(s bulwark.Severity) string {
	switch s {
	case bulwark.SeverityCritical:
		return "9.5"
	case bulwark.SeverityHigh:
		return "8.0"
	case bulwark.SeverityMedium:
		return "5.5"
	case bulwark.SeverityLow:
		return "3.0"
	case bulwark.SeverityInfo:
	}
	return "0.0"
}

// physical gives the place in a file, nil for what is in none.
func physical(at bulwark.Location) *sarifPhysical {
	if at.File == "" || at.File == "-" {
		return nil
	}
	out := &sarifPhysical{Artifact: artifact(at.File)}
	if at.Line > 0 {
		out.Region = &sarifRegion{StartLine: at.Line, StartColumn: at.Column}
	}
	return out
}

// artifact writes a path as an address: relative ones below SRCROOT, absolute ones
// as file:///.
func artifact(file string) sarifArtifact {
	p := filepath.ToSlash(file)
	if path.IsAbs(p) {
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: path.Clean(p)}).String()}
	}
	u := url.URL{Path: path.Clean(p)}
	// A colon in the first element would be read as a scheme; String adds "./".
	return sarifArtifact{URI: strings.TrimPrefix(u.String(), "./"), Base: srcRoot}
}

func logical(o bulwark.ObjectRef, field string) sarifLogical {
	if o == (bulwark.ObjectRef{}) {
		return sarifLogical{Name: "cluster", Full: "cluster", Kind: "module"}
	}
	full := o.APIVersion + "/" + o.Kind
	if o.Namespace != "" {
		full += "/" + o.Namespace
	}
	full += "/" + o.Name
	if field != "" {
		full += "#" + field
	}
	return sarifLogical{Name: or(o.Name, o.Kind), Full: full, Kind: "resource"}
}
