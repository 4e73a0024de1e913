package detect_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// evasion is what whoever asks may write into a request without changing what it does:
// no rule may fall for it.
type evasion struct {
	name string
	// change makes the change, or reports that the event has no room for it.
	change func(n int, e *audit.Event) bool
	// except are rules that fall for it, and why nothing can be done.
	except map[string]string
}

func isComponent(name string) bool {
	return slices.ContainsFunc([]string{"system:", "eks:", "aksservice"}, func(p string) bool { return strings.HasPrefix(strings.ToLower(name), p) })
}

// withBody puts a key into the body of a request.
func withBody(e *audit.Event, key string, value any) bool {
	body := map[string]any{}
	if len(e.RequestObject) > 0 && json.Unmarshal(e.RequestObject, &body) != nil {
		return false // a list
	}
	body[key] = value
	raw, err := json.Marshal(body)
	if err == nil {
		raw, err = audit.CanonicalJSON(raw)
	}
	e.RequestObject = raw
	return err == nil
}

func evasions() []evasion {
	return []evasion{
		{name: "a name like that of a component but for its letters", change: func(_ int, e *audit.Event) bool {
			if isComponent(e.User.Username) || e.User.Username == "" {
				return false
			}
			e.User.Username = "System:" + e.User.Username
			return true
		}},
		{name: "a name that begins as that of the AKS service", change: func(_ int, e *audit.Event) bool {
			if isComponent(e.User.Username) || e.User.Username == "" {
				return false
			}
			e.User.Username = "aksService" + e.User.Username
			return true
		}},
		{name: "X-Forwarded-For", change: func(n int, e *audit.Event) bool {
			e.SourceIPs = append([]string{fmt.Sprintf("127.0.0.%d", n%200+1)}, e.SourceIPs...)
			return len(e.SourceIPs) > 1
		}},
		{name: "dryRun in the body of a change", change: func(_ int, e *audit.Event) bool {
			if e.Verb != "patch" && e.Verb != "update" || len(e.RequestObject) == 0 {
				return false
			}
			return withBody(e, "dryRun", []string{"All"})
		}, except: map[string]string{"secret-returned-by-empty-patch": "whatever is no field of a Secret changes nothing either, and cannot be listed"}},
		{name: "dryRun in the query of a deletion with a body", change: func(_ int, e *audit.Event) bool {
			if e.Verb != "delete" && e.Verb != "deletecollection" || strings.Contains(e.RequestURI, "dryRun") {
				return false
			}
			mark := "?"
			if strings.Contains(e.RequestURI, "?") {
				mark = "&"
			}
			e.RequestURI += mark + "dryRun=All"
			e.Level = "Request"
			return len(e.RequestObject) > 0 || withBody(e, "kind", "DeleteOptions")
		}},
	}
}

// TestContentStandsEvasion changes the alerting tests of all rules in ways that do not
// matter: they alert all the same.
func TestContentStandsEvasion(t *testing.T) {
	samples, err := loadContent(t).Samples(newDecoder(t).Decode)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, s := range samples {
		for _, v := range evasions() {
			var events []*audit.Event
			changed := 0
			for n, e := range s.Events {
				// Read anew: what was looked up in the body before must not stay.
				e, err := audit.ParseCanonical(audit.AppendCanonical(nil, e))
				if err != nil {
					t.Fatal(err)
				}
				if e.Kind == audit.KindAPI && v.change(n, e) {
					changed++
				}
				events = append(events, e)
			}
			if changed == 0 || v.except[s.Rule] != "" {
				continue
			}
			ran[v.name]++
			if !s.Fires(events) {
				t.Errorf("%s: %q falls for: %s", s.Rule, s.Name, v.name)
			}
		}
	}
	for _, v := range evasions() {
		if ran[v.name] < 15 {
			t.Errorf("%s: tried %d times", v.name, ran[v.name])
		}
	}
	t.Logf("tried: %v", ran)
}
