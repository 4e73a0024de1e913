package results

import (
	"encoding/json"
	"fmt"

	"bulwark.dev/bulwark/internal/audit"
)

// alert is what the event of an alert says in More.
type alert struct {
	rule, title, summary, severity string
	tags                           []string
	evidence                       []string // numbers of events
}

// alertOf reads it; everything is empty in events of other kinds.
func alertOf(e *audit.Event) alert {
	if e.Kind != audit.KindAlert || len(e.More) == 0 {
		return alert{}
	}
	var members map[string]any
	if json.Unmarshal(e.More, &members) != nil {
		return alert{}
	}
	text := func(name string) string {
		s, _ := members[name].(string)
		return s
	}
	texts := func(name string) []string {
		list, _ := members[name].([]any)
		var out []string
		for _, v := range list {
			if n, ok := v.(float64); ok {
				out = append(out, fmt.Sprintf("%.0f", n))
			} else if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return alert{
		rule: text("rule"), title: text("title"), summary: text("summary"), severity: text("severity"),
		tags: texts("tags"), evidence: texts("evidence"),
	}
}

// moreText gives a text that stands in an event's More.
func moreText(e *audit.Event, name string) string {
	if len(e.More) == 0 {
		return ""
	}
	var members map[string]any
	if json.Unmarshal(e.More, &members) != nil {
		return ""
	}
	s, _ := members[name].(string)
	return s
}
