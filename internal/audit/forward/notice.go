package forward

import (
	"encoding/json"
	"time"
)

// Notice is something that a part of Bulwark has to tell which is no request.
type Notice struct {
	// Time is when it happened; the zero time is now.
	Time time.Time
	// Action is what was done: "start", "stop", "drop" or "log". Others are not taken.
	Action string
	// Failed says that it did not go well, Reason how in one word, Message in a sentence.
	Failed          bool
	Reason, Message string
	// Fields are a JSON object of what else is known.
	Fields json.RawMessage
}

// Tell puts a notice in line with the events. In the trail it is an event of kind
// system.
func (s *Sender) Tell(n Notice) {
	if n.Time.IsZero() {
		n.Time = s.cfg.Now()
	}
	s.put(n.Time, s.line(n))
}

// line writes the form that ingest reads as a part's own event.
func (s *Sender) line(n Notice) []byte {
	out := struct {
		Part    string          `json:"part"`
		Time    string          `json:"time"`
		Action  string          `json:"action"`
		Outcome string          `json:"outcome"`
		Reason  string          `json:"reason,omitempty"`
		Message string          `json:"message,omitempty"`
		Fields  json.RawMessage `json:"fields,omitempty"`
	}{s.cfg.Part, n.Time.UTC().Format(time.RFC3339Nano), n.Action, "success", n.Reason, n.Message, n.Fields}
	if n.Failed {
		out.Outcome = "failure"
	}
	b, err := json.Marshal(out)
	if err != nil { // only Fields can be wrong
		out.Fields = nil
		b, _ = json.Marshal(out) //nolint:errchkjson // texts
	}
	return b
}

func lostNotice(l lost, now time.Time) Notice {
	fields, _ := json.Marshal(map[string]any{ //nolint:errchkjson // texts and a number
		"events": l.count, "from": l.from.UTC().Format(time.RFC3339Nano), "to": l.to.UTC().Format(time.RFC3339Nano),
	})
	return Notice{
		Time: now, Action: "drop", Failed: true, Reason: "NoRoom", Fields: fields,
		Message: "events were dropped: there was no room for them, since the trail was away and the spool full, or they were too large",
	}
}
