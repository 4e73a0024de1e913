package output

import (
	"encoding/json"
	"io"

	"bulwark.dev/bulwark"
)

// The parts of an OCSF 1.3 Compliance Finding that are written. Every event is one
// line.
type (
	ocsfEvent struct {
		ActivityID   int            `json:"activity_id"`
		ActivityName string         `json:"activity_name"`
		CategoryUID  int            `json:"category_uid"`
		CategoryName string         `json:"category_name"`
		ClassUID     int            `json:"class_uid"`
		ClassName    string         `json:"class_name"`
		TypeUID      int            `json:"type_uid"`
		TypeName     string         `json:"type_name"`
		Time         int64          `json:"time"`
		SeverityID   int            `json:"severity_id"`
		Severity     string         `json:"severity"`
		StatusID     int            `json:"status_id"`
		Status       string         `json:"status"`
		Message      string         `json:"message"`
		Metadata     ocsfMetadata   `json:"metadata"`
		Compliance   ocsfCompliance `json:"compliance"`
		Finding      ocsfFinding    `json:"finding_info"`
		Resources    []ocsfResource `json:"resources"`
		Remediation  *ocsfRemedy    `json:"remediation,omitempty"`
		Unmapped     map[string]any `json:"unmapped,omitempty"`
	}
	ocsfMetadata struct {
		Version string      `json:"version"`
		Product ocsfProduct `json:"product"`
	}
	ocsfProduct struct {
		Name    string `json:"name"`
		Vendor  string `json:"vendor_name"`
		Version string `json:"version"`
	}
	ocsfCompliance struct {
		Control      string   `json:"control"`
		Standards    []string `json:"standards"`
		Requirements []string `json:"requirements,omitempty"`
		StatusID     int      `json:"status_id"`
		Status       string   `json:"status"`
		Detail       string   `json:"status_detail,omitempty"`
	}
	ocsfFinding struct {
		UID     string   `json:"uid"`
		Title   string   `json:"title"`
		Desc    string   `json:"desc"`
		Types   []string `json:"types,omitempty"`
		Created int64    `json:"created_time"`
	}
	ocsfResource struct {
		UID       string `json:"uid"`
		Name      string `json:"name"`
		Type      string `json:"type"`
		Namespace string `json:"namespace,omitempty"`
		Version   string `json:"version,omitempty"`
	}
	ocsfRemedy struct {
		Desc       string   `json:"desc"`
		References []string `json:"references,omitempty"`
	}
)

func ocsf(w io.Writer, d *Document, _ Options) error {
	enc := json.NewEncoder(w)
	meta, standards := d.meta(), map[string][2][]string{}
	for i := range d.Frameworks {
		c := &d.Frameworks[i]
		for _, r := range c.Results {
			for _, p := range r.Controls {
				s := standards[p.ID]
				if n := len(s[0]); n == 0 || s[0][n-1] != c.ID {
					s[0] = append(s[0], c.ID)
				}
				s[1] = append(s[1], c.ID+":"+r.ID)
				standards[p.ID] = s
			}
		}
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		m, at := meta[f.Control], d.Time.UnixMilli()
		e := ocsfEvent{
			ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings",
			ClassUID: 2003, ClassName: "Compliance Finding", TypeUID: 200301, TypeName: "Compliance Finding: Create",
			Time: at, Message: or(f.Message, or(f.Reason, f.Title)),
			Metadata:   ocsfMetadata{Version: "1.3.0", Product: ocsfProduct{d.Tool.Name, "Bulwark", or(d.Tool.Version, "devel")}},
			Compliance: ocsfCompliance{Control: f.Control, Standards: list(standards[f.Control][0]), Requirements: standards[f.Control][1], Detail: f.Reason},
			Finding:    ocsfFinding{UID: f.Fingerprint, Title: or(f.Title, f.Control), Desc: or(m.Why, or(f.Message, f.Title)), Created: at},
			Resources:  []ocsfResource{resource(f.Object)},
		}
		if m.Category != "" {
			e.Finding.Types = []string{m.Category}
		}
		e.SeverityID, e.Severity = ocsfSeverity(f.Severity)
		e.StatusID, e.Status = 1, "New"
		e.Compliance.StatusID, e.Compliance.Status = 3, "Fail"
		switch f.Verdict {
		case bulwark.VerdictUnknown:
			e.Compliance.StatusID, e.Compliance.Status = 0, "Unknown"
		case bulwark.VerdictExcepted:
			e.StatusID, e.Status = 3, "Suppressed"
		case bulwark.VerdictFail, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
		}
		if f.Remediation != "" {
			e.Remediation = &ocsfRemedy{f.Remediation, m.References}
		}
		e.Unmapped = map[string]any{}
		for k, v := range map[string]string{"field": f.Field, "container": f.Container, "file": f.Location.File, "exposed": f.Exposed, "exception": f.Exception} {
			if v != "" {
				e.Unmapped[k] = v
			}
		}
		if f.Location.Line > 0 {
			e.Unmapped["line"] = f.Location.Line
		}
		for _, o := range f.Related {
			e.Resources = append(e.Resources, resource(o))
		}
		if err := enc.Encode(&e); err != nil {
			return err
		}
	}
	return nil
}

func resource(o bulwark.ObjectRef) ocsfResource {
	if o == (bulwark.ObjectRef{}) {
		return ocsfResource{UID: "cluster", Name: "cluster", Type: "Cluster"}
	}
	return ocsfResource{UID: logical(o, "").Full, Name: o.Name, Type: o.Kind, Namespace: o.Namespace, Version: o.APIVersion}
}

func ocsfSeverity(s bulwark.Severity) (id int, name string) {
	switch s {
	case bulwark.SeverityInfo:
		return 1, "Informational"
	case bulwark.SeverityLow:
		return 2, "Low"
	case bulwark.SeverityMedium:
		return 3, "Medium"
	case bulwark.SeverityHigh:
		return 4, "High"
	case bulwark.SeverityCritical:
		return 5, "Critical"
	}
	return 0, "Unknown"
}
