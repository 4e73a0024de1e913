package main

import (
	"encoding/json"
	"testing"
	"time"
)

// TestTraffic: what is sent is what an API server could send, also after it is renewed.
func TestTraffic(t *testing.T) {
	t.Parallel()
	body := newTraffic(1, time.Now()).batch(2000)
	ids := map[string]bool{}
	for range 2 {
		var list struct {
			Kind  string
			Items []struct {
				AuditID, Verb, StageTimestamp string
				User                          struct{ Username string }
			}
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatalf("%v: %.2000s", err, body)
		}
		if list.Kind != "EventList" || len(list.Items) != 2000 {
			t.Fatalf("%s with %d events", list.Kind, len(list.Items))
		}
		for _, e := range list.Items {
			if _, err := time.Parse(time.RFC3339Nano, e.StageTimestamp); err != nil || e.Verb == "" || e.User.Username == "" {
				t.Fatalf("%+v: %v", e, err)
			}
			if ids[e.AuditID] {
				t.Fatalf("audit id %s is there twice", e.AuditID)
			}
			ids[e.AuditID] = true
		}
		renew(body, 7)
	}
	if n := len(body) / 2000; n < 900 || n > 1500 {
		t.Errorf("%d bytes for an event", n)
	}
}
