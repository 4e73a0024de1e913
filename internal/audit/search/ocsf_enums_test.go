package search

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// ocsfEnums are the numbers that attributes of OCSF 1.3.0 may have, with what they are
// called (schema.ocsf.io/1.3.0). Where a number is 99, the source says what it is.
func ocsfEnums() map[string]map[string]string {
	user := map[string]string{"0": "Unknown", "1": "User", "2": "Admin", "3": "System", "99": ""}
	return map[string]map[string]string{
		"severity_id/severity": {"0": "Unknown", "1": "Informational", "2": "Low", "3": "Medium", "4": "High", "5": "Critical", "6": "Fatal", "99": ""},
		"class_uid/class_name": {"0": "Base Event", "6003": "API Activity", "2004": "Detection Finding"}, "category_uid/category_name": {"0": "Uncategorized", "6": "Application Activity", "2": "Findings"},
		"6003.activity_id/activity_name": {"0": "Unknown", "1": "Create", "2": "Read", "3": "Update", "4": "Delete", "99": ""},
		"6003.status_id/status":          {"0": "Unknown", "1": "Success", "2": "Failure", "99": ""},
		"2004.activity_id/activity_name": {"0": "Unknown", "1": "Create", "2": "Update", "3": "Close", "99": ""},
		"2004.status_id/status":          {"0": "Unknown", "1": "New", "2": "In Progress", "3": "Suppressed", "4": "Resolved", "99": ""},
		"0.activity_id/activity_name":    {"0": "Unknown", "99": ""},
		"user.type_id/type":              user,
		"analytic.type_id/type":          {"0": "Unknown", "1": "Rule", "2": "Behavioral", "3": "Statistical", "4": "Learning (ML/DL)", "99": ""},
	}
}

// enums says which numbers of a record are none that the schema has, or are called by
// another name; it gives how many it looked at.
func enums(record map[string]any) (problems []string, looked int) {
	class := fmt.Sprint(record["class_uid"])
	look := func(object map[string]any, in, id, name string) {
		value, ok := object[id]
		if !ok {
			return
		}
		looked++
		key := in + id + "/" + name
		caption, known := ocsfEnums()[key][fmt.Sprint(value)]
		said, _ := object[name].(string)
		switch {
		case !known:
			problems = append(problems, fmt.Sprintf("%s may not be %v", key, value))
		case caption != "" && said != caption:
			problems = append(problems, fmt.Sprintf("%s: %v is called %q, not %q", key, value, caption, said))
		case caption == "" && said == "":
			problems = append(problems, fmt.Sprintf("%s: %v needs the source's own word", key, value))
		}
	}
	look(record, "", "severity_id", "severity")
	look(record, "", "class_uid", "class_name")
	look(record, "", "category_uid", "category_name")
	look(record, class+".", "activity_id", "activity_name")
	look(record, class+".", "status_id", "status")
	var walk func(name string, value any)
	walk = func(name string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if name == "user" || name == "analytic" {
				look(v, name+".", "type_id", "type")
			}
			for member, inner := range v {
				if member != "unmapped" && member != "data" {
					walk(member, inner)
				}
			}
		case []any:
			for _, inner := range v {
				walk(name, inner)
			}
		}
	}
	walk("", record)
	activity, _ := record["activity_name"].(string)
	if id := fmt.Sprint(record["activity_id"]); id == "99" {
		activity = "Other"
	}
	if want := fmt.Sprint(record["class_name"], ": ", activity); record["type_name"] != want {
		problems = append(problems, fmt.Sprintf("type_name is %v, want %q", record["type_name"], want))
	}
	return problems, looked
}

// TestOCSFEnums: whatever API servers and attackers write, the numbers of a record are
// those of the schema, under their names.
func TestOCSFEnums(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "detect", "testdata", "benign.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	d := &ingest.Decoder{Source: "test", Now: func() time.Time { return noon() }, Redact: new(ingest.Redactor).Redact}
	events := append(people(), hostile(), &audit.Event{Seq: 1, Kind: audit.KindSystem, Verb: "disk-full"}, &audit.Event{Seq: 2, Kind: audit.KindAction}, &audit.Event{Seq: 3, Kind: audit.KindAPI, Verb: "connect"})
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		entries, err := d.Decode(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			events = append(events, e.Event)
		}
	}
	looked, o := 0, newOCSF("1.2.3")
	for _, e := range events {
		line, err := json.Marshal(o.record(e))
		if err != nil {
			t.Fatal(err)
		}
		checkOCSF(t, line)
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.UseNumber()
		var record map[string]any
		if err := dec.Decode(&record); err != nil {
			t.Fatal(err)
		}
		problems, n := enums(record)
		for _, p := range problems {
			t.Errorf("%s\n%s", p, line)
		}
		looked += n
	}
	if len(events) < 150 || looked < 5*len(events) {
		t.Errorf("%d numbers of %d records", looked, len(events))
	}
}
