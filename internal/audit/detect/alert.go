package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// alertID names a finding: the same rule and the same evidence have the same id, also
// after a restart.
func alertID(rule string, evidence []uint64) string {
	h := sha256.New()
	h.Write([]byte(rule))
	for _, seq := range evidence {
		h.Write([]byte("\n" + strconv.FormatUint(seq, 10)))
	}
	return "alert-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// shownFields are what every alert has of its event, besides what the rule asks for.
func shownFields() []string {
	return []string{
		"cluster", "auditID", "verb", "requestURI", "user.username", "impersonatedUser.username", "sourceIPs", "userAgent",
		"objectRef.apiGroup", "objectRef.resource", "objectRef.subresource", "objectRef.namespace", "objectRef.name", "responseStatus.code",
	}
}

// maxFieldText is how many characters of a field an alert has. The evidence has all.
const maxFieldText = 512

// alert makes the alert of a finding.
func (g *Engine) alert(r *running, f finding, held int) Alert {
	e := g.view.Event()
	a := Alert{
		ID: alertID(r.Key, f.seqs), Rule: r.Key, Title: r.Title, Severity: r.Severity, Tags: slices.Clone(r.Tags),
		Time: time.UnixMicro(f.at).UTC(), Evidence: f.seqs, Fields: map[string]string{},
	}
	if f.past {
		a.Actor = f.actor
	} else {
		a.Actor = e.Actor().Username
		for _, name := range append(shownFields(), r.Interest...) {
			if text := shown(g.texts(name)); text != absent {
				a.Fields[name] = safe(text, maxFieldText)
			}
		}
	}
	if held > 0 {
		a.Fields["suppressed"] = strconv.Itoa(held)
	}
	own := map[string]string{}
	for name, text := range f.values {
		own[name], a.Fields[name] = text, safe(text, maxFieldText)
	}
	if r.Correlation {
		own["count"] = strconv.Itoa(f.count)
		own["first"] = time.UnixMicro(f.first).UTC().Format(time.RFC3339)
		own["last"] = time.UnixMicro(f.at).UTC().Format(time.RFC3339)
		for i, name := range r.source.Correlation.GroupBy {
			if len(f.group) == len(r.source.Correlation.GroupBy) {
				own[name] = f.group[i]
			}
		}
		for name, text := range own {
			if text != "" {
				a.Fields[name] = safe(text, maxFieldText)
			}
		}
	}
	a.Summary = r.summary.write(r.Title, func(name string) []string {
		text, ok := own[name]
		if name == "actor.username" && !f.past && e.Impersonated != nil && (!ok || text == a.Actor) {
			// Who took another's rights is as much the actor as the other is.
			return []string{e.User.Username + " as " + a.Actor}
		}
		if ok {
			return []string{text}
		}
		if f.past {
			if name == "actor.username" {
				return []string{f.actor}
			}
			return nil
		}
		return g.texts(name)
	})
	return a
}

// maxTexts is how many values of a field an alert looks at.
const maxTexts = 100

// texts gives the values of a field of the event at hand.
func (g *Engine) texts(name string) []string {
	slot := g.view.Slot(name) // an unknown one has no values: it is in the rule's list of interesting fields
	var out []string
	for i := 0; i < g.view.Len(slot) && len(out) < maxTexts; i++ {
		if text := g.view.Text(slot, i); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// alertBody is an alert as an event of the log has it, in More.
type alertBody struct {
	Rule     string            `json:"rule"`
	Title    string            `json:"title"`
	Severity bulwark.Severity  `json:"severity"`
	Summary  string            `json:"summary"`
	Evidence []uint64          `json:"evidence"`
	Tags     []string          `json:"tags,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
}

// alertSource is the Source of events that are alerts.
const alertSource = "detect"

// Event is the alert as an event of the log. Its audit id is the alert's.
func (a Alert) Event(now time.Time) *audit.Event {
	e := &audit.Event{
		Kind: audit.KindAlert, Source: alertSource, Received: now.UTC().Truncate(time.Microsecond), AuditID: a.ID,
		User: audit.User{Username: strings.ToValidUTF8(a.Actor, "\uFFFD")}, StageAt: a.Time.UTC().Truncate(time.Microsecond),
	}
	body := alertBody{Rule: a.Rule, Title: a.Title, Severity: a.Severity, Summary: a.Summary, Evidence: a.Evidence, Tags: a.Tags, Fields: a.Fields}
	if body.Severity == 0 {
		body.Severity = bulwark.SeverityMedium
	}
	raw, err := json.Marshal(body)
	if err == nil {
		raw, err = audit.CanonicalJSON(raw)
	}
	if err != nil {
		// Nothing in the body can be refused; should it be, the rule is still named.
		raw = []byte(`{"rule":` + strconv.QuoteToASCII(a.Rule) + `}`)
	}
	e.More = raw
	return e
}

// The numbers of the first and the last events that a line for people has.
const (
	shownFirst = 4
	shownLast  = 2
)

// EvidenceLine is the evidence in a few words: of many events how many there are, the
// first and the last. The alert's event has all of them.
func (a Alert) EvidenceLine() string {
	list := func(seqs []uint64) string {
		var out []string
		for _, n := range seqs {
			out = append(out, strconv.FormatUint(n, 10))
		}
		return strings.Join(out, " ")
	}
	n := len(a.Evidence)
	if n <= shownFirst+shownLast {
		return list(a.Evidence)
	}
	return fmt.Sprintf("%d events: %s … %s", n, list(a.Evidence[:shownFirst]), list(a.Evidence[n-shownLast:]))
}

// AlertOf reads an alert from its event.
func AlertOf(e *audit.Event) (Alert, error) {
	if e.Kind != audit.KindAlert {
		return Alert{}, fmt.Errorf("event %d is no alert but of kind %q", e.Seq, e.Kind)
	}
	var body alertBody
	if err := json.Unmarshal(e.More, &body); err != nil {
		return Alert{}, fmt.Errorf("event %d: read the alert: %w", e.Seq, err)
	}
	return Alert{
		ID: e.AuditID, Rule: body.Rule, Title: body.Title, Severity: body.Severity, Time: e.Time(), Actor: e.User.Username,
		Summary: body.Summary, Evidence: body.Evidence, Tags: body.Tags, Fields: body.Fields,
	}, nil
}
