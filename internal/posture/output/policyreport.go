package output

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
)

// maxResults keeps one report well below what an API server stores in one object.
const maxResults = 500

// The parts of wgpolicyk8s.io/v1alpha2 that are written.
type (
	report struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   reportMeta     `json:"metadata"`
		Summary    reportSummary  `json:"summary"`
		Results    []reportResult `json:"results"`
	}
	reportMeta struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace,omitempty"`
		Labels    map[string]string `json:"labels"`
	}
	reportSummary struct {
		Pass  int `json:"pass"`
		Fail  int `json:"fail"`
		Warn  int `json:"warn"`
		Error int `json:"error"`
		Skip  int `json:"skip"`
	}
	reportResult struct {
		Source     string            `json:"source"`
		Policy     string            `json:"policy"`
		Category   string            `json:"category,omitempty"`
		Severity   string            `json:"severity"`
		Result     string            `json:"result"`
		Scored     bool              `json:"scored"`
		Message    string            `json:"message"`
		Timestamp  reportTime        `json:"timestamp"`
		Resources  []reportRef       `json:"resources,omitempty"`
		Properties map[string]string `json:"properties,omitempty"`
	}
	reportTime struct {
		Seconds int64 `json:"seconds"`
		Nanos   int32 `json:"nanos"`
	}
	reportRef struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Namespace  string `json:"namespace,omitempty"`
		Name       string `json:"name,omitempty"`
	}
)

// policyReport writes PolicyReport objects, one or more for each namespace, and
// ClusterPolicyReport objects for what is in none, as YAML documents.
func policyReport(w io.Writer, d *Document, _ Options) error {
	meta := d.meta()
	by := map[string][]*Finding{}
	for i := range d.Findings {
		f := &d.Findings[i]
		by[f.Object.Namespace] = append(by[f.Object.Namespace], f)
	}
	for _, ns := range namespaces(d) {
		for i, part := range slices.Collect(slices.Chunk(by[ns], maxResults)) {
			r := report{APIVersion: "wgpolicyk8s.io/v1alpha2", Kind: "PolicyReport"}
			r.Metadata = reportMeta{Name: fmt.Sprintf("bulwark-scan-%d", i+1), Namespace: ns, Labels: map[string]string{"app.kubernetes.io/managed-by": "bulwark"}}
			if ns == "" {
				r.Kind = "ClusterPolicyReport"
			}
			for _, f := range part {
				x := result(f, meta[f.Control].Category, d.Time.Unix())
				r.Summary.add(x.Result)
				r.Results = append(r.Results, x)
			}
			text, err := yamlText(&r)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
				return err
			}
		}
	}
	return nil
}

// yamlText is yaml.Marshal for any text: that one reads its own JSON as YAML, where
// some characters may only stand escaped.
func yamlText(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, r := range string(text) {
		if r >= 0x7f && r <= 0x9f || r == '\ufeff' || r == '\ufffe' || r == '\uffff' {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return yaml.JSONToYAML([]byte(b.String()))
}

func (s *reportSummary) add(result string) {
	switch result {
	case "fail":
		s.Fail++
	case "skip":
		s.Skip++
	default:
		s.Error++
	}
}

func result(f *Finding, category string, at int64) reportResult {
	r := reportResult{
		Source: "bulwark", Policy: f.Control, Category: category, Severity: f.Severity.String(), Result: "fail", Scored: true,
		Message: short(plain(cmp.Or(f.Message, f.Reason, f.Title)), 1000), Timestamp: reportTime{Seconds: at},
		Properties: map[string]string{"fingerprint": f.Fingerprint},
	}
	if f.Object != (bulwark.ObjectRef{}) {
		r.Resources = []reportRef{{f.Object.APIVersion, f.Object.Kind, f.Object.Namespace, f.Object.Name}}
	}
	for k, v := range map[string]string{"field": f.Field, "container": f.Container, "exposed": f.Exposed, "exception": f.Exception, "reason": f.Reason} {
		if v != "" {
			r.Properties[k] = short(plain(v), 300)
		}
	}
	switch f.Verdict {
	case bulwark.VerdictUnknown:
		r.Result = "error" // it could not be judged, which is not "skip": nobody chose so
	case bulwark.VerdictExcepted:
		r.Result, r.Scored = "skip", false
	case bulwark.VerdictFail, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
	}
	return r
}
