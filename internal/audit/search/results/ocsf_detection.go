package results

import (
	"strconv"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

func (o *ocsf) detection(e *audit.Event) object {
	a := alertOf(e)
	r := o.base(e, ocsfDetection, 2, "Detection Finding", "Findings", 1, "Create", "Detection Finding: Create")
	r["status_id"], r["status"] = 1, "New"
	r["severity_id"], r["severity"] = ocsfSeverity(a.severity)
	r.put("message", or(a.summary, a.title))
	uid := or(e.AuditID, strconv.FormatUint(e.Seq, 10))
	info := object{"uid": uid, "title": or(a.title, or(a.rule, "Alert")), "created_time": e.Time().UnixMilli()}
	info.put("desc", a.summary)
	if a.rule != "" {
		info["analytic"] = object{"uid": a.rule, "name": or(a.title, a.rule), "type_id": 1, "type": "Rule"}
	}
	info.put("attacks", ocsfAttacks(a.tags))
	var related []object
	for _, seq := range a.evidence {
		if seq != "" {
			related = append(related, object{"uid": seq})
		}
	}
	info.put("related_events", related)
	r["finding_info"] = info
	evidence := object{}
	if e.User.Username != "" || e.User.UID != "" {
		evidence["actor"] = object{"user": ocsfUser(&e.User)}
	}
	if len(e.SourceIPs) > 0 {
		evidence["src_endpoint"] = ocsfSource(e)
	}
	if len(evidence) > 0 {
		r["evidences"] = []object{evidence}
	}
	r.put("resources", ocsfResources(e))
	return r
}

func ocsfSeverity(s string) (id int, name string) {
	if s == "informational" { // as Sigma calls it
		s = "info"
	}
	severity, err := bulwark.ParseSeverity(s)
	if err != nil {
		return 0, "Unknown"
	}
	switch severity {
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

// ocsfAttacks makes of Sigma's tags, such as "attack.t1552.007" and
// "attack.credential-access", what MITRE ATT&CK calls them.
func ocsfAttacks(tags []string) []object {
	tactics := map[string][2]string{
		"reconnaissance": {"TA0043", "Reconnaissance"}, "resource-development": {"TA0042", "Resource Development"},
		"initial-access": {"TA0001", "Initial Access"}, "execution": {"TA0002", "Execution"},
		"persistence": {"TA0003", "Persistence"}, "privilege-escalation": {"TA0004", "Privilege Escalation"},
		"defense-evasion": {"TA0005", "Defense Evasion"}, "credential-access": {"TA0006", "Credential Access"},
		"discovery": {"TA0007", "Discovery"}, "lateral-movement": {"TA0008", "Lateral Movement"},
		"collection": {"TA0009", "Collection"}, "exfiltration": {"TA0010", "Exfiltration"},
		"command-and-control": {"TA0011", "Command and Control"}, "impact": {"TA0040", "Impact"},
	}
	var out []object
	for _, tag := range tags {
		id, ok := strings.CutPrefix(strings.ToLower(tag), "attack.")
		if !ok {
			continue
		}
		if t, ok := tactics[strings.ReplaceAll(id, "_", "-")]; ok {
			out = append(out, object{"tactic": object{"uid": t[0], "name": t[1]}})
			continue
		}
		technique, sub, _ := strings.Cut(id, ".")
		if len(technique) != 5 || technique[0] != 't' || strings.Trim(technique[1:], "0123456789") != "" {
			continue
		}
		attack := object{"technique": object{"uid": strings.ToUpper(technique)}}
		if sub != "" {
			attack["sub_technique"] = object{"uid": strings.ToUpper(id)}
		}
		out = append(out, attack)
	}
	return out
}
