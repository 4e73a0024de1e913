package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

func published(t *testing.T) *schema {
	t.Helper()
	s, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The extract of the schema resolves, and says of each thing what the test asks of it.
func TestSchema(t *testing.T) {
	t.Parallel()
	s := published(t)
	if s.Version != OCSFVersion {
		t.Errorf("the extract is of %s, and %s is written", s.Version, OCSFVersion)
	}
	entries, attributes, required := 0, 0, 0
	for _, of := range []map[string]*shape{s.classes, s.objects} {
		for name, e := range of {
			entries++
			for attribute, a := range e.attributes {
				attributes++
				switch a.Requirement {
				case "required":
					required++
				case "optional", "recommended":
				default:
					t.Errorf("%s.%s is %q", name, attribute, a.Requirement)
				}
			}
			for rule, names := range e.Constraints {
				for _, member := range names {
					if _, ok := e.attributes[member]; !ok || rule != "at_least_one" && rule != "just_one" {
						t.Errorf("%s: %s of %s", name, rule, member)
					}
				}
			}
		}
	}
	for name, a := range s.Dictionary {
		if _, ok := s.Types[a.Type]; ok {
			continue
		}
		if _, ok := s.Objects[a.Type]; !ok {
			t.Errorf("%s is of the type %s, which is not there", name, a.Type)
		}
	}
	if entries != 29 || attributes < 330 || required < 30 {
		t.Errorf("%d events and objects, %d attributes, %d of them required", entries, attributes, required)
	}
}

// everyKind has the events of the trail's test data: each kind, each form that a source
// sends, and what an attacker may make of them.
func everyKind(t *testing.T) []*audit.Event {
	t.Helper()
	at := searchtest.Noon()
	events := append(searchtest.People(), searchtest.Hostile())
	for n, kind := range audit.Kinds() {
		for i, verb := range []string{"", "get", "create", "patch", "deletecollection", "connect", "\x1b[2J"} {
			seq := uint64(100*n + i + 1)
			events = append(events,
				&audit.Event{Seq: seq, Kind: kind, Verb: verb, Received: at},
				&audit.Event{Seq: seq, Kind: kind, Verb: verb, Received: at, RequestURI: "https://a/b?c#d", SourceIPs: []string{""}, More: json.RawMessage(`{"rule":1,"severity":"informational","evidence":{}}`)})
		}
		if kind != audit.KindAPI && kind != audit.KindAlert && kind != audit.KindSystem {
			continue // one of each class is enough
		}
		for i, long := range []string{strings.Repeat("é", 33_000), strings.Repeat("\xff", 30_000)} {
			events = append(events,
				&audit.Event{
					Seq: uint64(100*n + 50 + i), Kind: kind, Verb: long, Received: at, StageAt: at, Source: long, Cluster: long, AuditID: long, RequestURI: "?" + long, UserAgent: long,
					User:         audit.User{Username: long, UID: long, Groups: []string{"", long}, Extra: map[string][]string{"a": {"b"}}},
					Impersonated: &audit.User{Username: "system:x"}, SourceIPs: []string{"fe80::1%" + long, "::ffff:10.0.0.1", "fe80::1%eth0", "no address", long},
					Object:        audit.ObjectRef{APIGroup: long, APIVersion: long, Resource: long, Subresource: long, Namespace: long, Name: long, UID: long},
					Status:        audit.Status{Code: 403, Status: long, Reason: long, Message: long},
					RequestObject: json.RawMessage(`{"a":[1,{"b":null}]}`), ResponseObject: json.RawMessage(`[1]`), Annotations: map[string]string{"authorization.k8s.io/decision": long},
					More: json.RawMessage(`{"rule":"` + long + `","title":"` + long + `","summary":"` + long + `","severity":"severe","tags":["attack.t1552.007","attack.T1","attack.impact"],"evidence":[1,"",true]}`),
				})
		}
	}
	d := &ingest.Decoder{Source: "test", Now: searchtest.Noon, Redact: new(redact.Redactor).Redact}
	decode := func(line []byte) {
		entries, err := d.Decode(line)
		if err != nil {
			return // the decoder's own tests say which it refuses
		}
		for _, e := range entries {
			events = append(events, e.Event)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "detect", "testdata", "benign.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		decode(lines.Bytes())
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "ingest", "testdata", "decode", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			decode(f.Data)
		}
	}
	return events
}

// Every event is a record of the published OCSF, whatever API servers and attackers write.
func TestOCSF(t *testing.T) {
	t.Parallel()
	s, o := published(t), newOCSF("1.2.3")
	classes, kinds, attributes := map[string]int{}, map[audit.Kind]int{}, 0
	events := everyKind(t)
	for _, e := range events {
		record := o.record(e)
		line, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.check(line)
		if err != nil {
			t.Errorf("event %d of kind %s: %v\n%.2000s", e.Seq, e.Kind, err, line)
		}
		attributes += n
		kinds[e.Kind]++
		classes[fmt.Sprint(record["class_uid"])]++
	}
	if len(events) < 400 || len(kinds) != len(audit.Kinds()) || attributes < 25*len(events) {
		t.Errorf("%d events of %d kinds, %d attributes", len(events), len(kinds), attributes)
	}
	if got := slices.Sorted(maps.Keys(classes)); !slices.Equal(got, []string{"0", "2004", "6003"}) {
		t.Errorf("classes %v", classes)
	}
}

// Events of any shape are records of OCSF.
func TestOCSFOfAnything(t *testing.T) {
	t.Parallel()
	s, o := published(t), newOCSF("")
	rapid.Check(t, func(t *rapid.T) {
		e := searchtest.RandomEvent(t, "event")
		if e.Time().IsZero() {
			e.Received = searchtest.Noon() // the log takes no event without a time
		}
		line, err := json.Marshal(o.record(e))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.check(line); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
	})
}

// A record that is changed against the schema is refused, and for that.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	s, o := published(t), newOCSF("1.2.3")
	people := searchtest.People()
	for _, tt := range []struct {
		event  int
		change func(object)
		says   string
	}{
		{0, func(r object) { delete(r, "src_endpoint") }, "needs src_endpoint"},
		{0, func(r object) { delete(r, "severity_id") }, "needs severity_id"},
		{0, func(r object) { delete(r["metadata"].(object), "product") }, "/metadata: needs product"},
		{0, func(r object) { delete(r["api"].(object), "operation") }, "/api: needs operation"},
		{0, func(r object) { r["finding_info"] = object{"title": "x", "uid": "x"} }, "/finding_info: no attribute"},
		{0, func(r object) { r["cloud"] = object{"provider": "x"} }, "/cloud: no attribute"},
		{0, func(r object) { r["src_endpoint"].(object)["domain_name"] = "x" }, "/src_endpoint/domain_name: no attribute"},
		{0, func(r object) { r["resources"].([]object)[0]["region"] = "x" }, "profile cloud"},
		{0, func(r object) { r["metadata"].(object)["profiles"] = []string{"cloud"} }, "has no profiles"},
		{0, func(r object) { r["time"] = searchtest.Noon().Unix() }, "no time in milliseconds"},
		{0, func(r object) { r["time"] = searchtest.Noon().UnixMicro() }, "no time in milliseconds"},
		{0, func(r object) { r["time"] = "2026-11-21T12:00:00Z" }, "no whole number"},
		{0, func(r object) { r["status_code"] = 200 }, "no text"},
		{0, func(r object) { r["message"] = strings.Repeat("x", 70_000) }, "65535 are the most"},
		{0, func(r object) { r["resources"] = r["resources"].([]object)[0] }, "no list"},
		{0, func(r object) { r["actor"] = "alice" }, "no object"},
		{0, func(r object) { r["src_endpoint"].(object)["ip"] = "10.0.0.256" }, "/src_endpoint/ip: "},
		{0, func(r object) { r["activity_id"] = 5 }, "/activity_id: may not be 5"},
		{0, func(r object) { r["activity_id"] = 1 }, "which give 600301"},
		{0, func(r object) { r["activity_name"] = "Create" }, `called "Read", not "Create"`},
		{0, func(r object) { r["type_name"] = "API Activity: Get" }, `called "API Activity: Read"`},
		{0, func(r object) { r["category_uid"] = 3 }, "/category_uid: may not be 3"},
		{0, func(r object) { r["class_uid"] = 6001 }, "no class 6001"},
		{0, func(r object) { r["severity_id"] = 7 }, "may not be 7"},
		{0, func(r object) { r["actor"].(object)["user"] = object{"type_id": 1} }, "at_least_one"},
		{0, func(r object) { r["http_request"].(object)["url"] = object{"query_string": "x"} }, "at_least_one"},
		{4, func(r object) { r["finding_info"].(object)["analytic"].(object)["type_id"] = 12 }, "may not be 12"},
		{4, func(r object) { r["status_id"] = 5 }, "may not be 5"},
		{4, func(r object) { r["evidences"] = []object{{"container": object{}}} }, "at_least_one"},
		{4, func(r object) { r["api"] = object{"operation": "x"} }, "/api: no attribute"},
	} {
		r := o.record(people[tt.event])
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.check(before); err != nil {
			t.Fatal(err)
		}
		tt.change(r)
		after, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.check(after); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v", tt.says, err)
		}
	}
}

// Records say what they should.
func TestOCSFSays(t *testing.T) {
	t.Parallel()
	o, events := newOCSF("1.2.3"), searchtest.People()
	get, exec, denied, alert := o.record(events[0]), o.record(events[1]), o.record(events[2]), o.record(events[4])
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"a get", get["type_uid"], 600302},
		{"an exec", exec["type_uid"], 600301},
		{"time", get["time"], searchtest.Noon().UnixMilli() - 30*60*1000},
		{"success", get["status_id"], 1},
		{"a switch of protocols", exec["status_id"], 1},
		{"a refusal", denied["status_id"], 2},
		{"source", get["src_endpoint"].(object)["ip"], "10.1.2.3"},
		{"user", get["actor"].(object)["user"].(object)["name"], "alice"},
		{"system user", denied["actor"].(object)["user"].(object)["type_id"], 3},
		{"resource", denied["resources"].([]object)[0]["type"], "deployments.apps"},
		{"severity", alert["severity_id"], 4},
		{"rule", alert["finding_info"].(object)["analytic"].(object)["uid"], "secrets-list"},
		{"technique", alert["finding_info"].(object)["attacks"].([]object)[1]["sub_technique"].(object)["uid"], "T1552.007"},
		{"evidence", alert["finding_info"].(object)["related_events"].([]object)[1]["uid"], "2"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}
