package search

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// shape is a class or object of OCSF 1.3.0: the type of each of its attributes that
// there are, which must be there, and of which at least one must.
type shape struct {
	attributes string // "name:type", a list type ends in []
	required   string
	oneOf      string
}

// ocsfShapes are the classes and objects that are written, with all attributes that
// version 1.3.0 gives them outside of profiles.
func ocsfShapes() map[string]shape {
	const base = "activity_id:int activity_name:string category_name:string category_uid:int class_name:string class_uid:int count:int duration:int " +
		"end_time:int enrichments:any message:string metadata:metadata observables:any raw_data:string severity:string severity_id:int " +
		"start_time:int status:string status_code:string status_detail:string status_id:int time:int timezone_offset:int " +
		"type_name:string type_uid:int unmapped:any "
	const always = "activity_id category_uid class_uid metadata severity_id time type_uid "
	const entity = "name:string uid:string "
	return map[string]shape{
		"class 0":    {base, always, ""},
		"class 6003": {base + "actor:actor api:api dst_endpoint:endpoint http_request:http_request resources:resource[] src_endpoint:endpoint", always + "actor api src_endpoint", ""},
		"class 2004": {base + "comment:string confidence:string confidence_id:int confidence_score:int device:any evidences:evidence[] finding_info:finding_info " +
			"impact:string impact_id:int impact_score:int remediation:any resources:resource[] risk_details:string risk_level:string risk_level_id:int " +
			"risk_score:int vulnerabilities:any", always + "finding_info", ""},
		"metadata": {"correlation_uid:string event_code:string extension:any extensions:any labels:string[] log_level:string log_name:string log_provider:string " +
			"log_version:string logged_time:int loggers:any modified_time:int original_time:string processed_time:int product:product profiles:string[] " +
			"sequence:int tenant_uid:string uid:string version:string", "product version", ""},
		"product": {entity + "cpe_name:string feature:any lang:string path:string url_string:string vendor_name:string version:string", "vendor_name", "name uid"},
		"actor": {
			"app_name:string app_uid:string authorizations:authorization[] idp:any invoked_by:string process:any session:any user:user", "",
			"process user invoked_by session app_name app_uid",
		},
		"authorization": {"decision:string policy:any", "", "decision policy"},
		"user": {entity + "account:any credential_uid:string domain:string email_addr:string full_name:string groups:group[] ldap_person:any org:any " +
			"risk_level:string risk_level_id:int risk_score:int type:string type_id:int uid_alt:string", "", "account name uid"},
		"group":    {entity + "desc:string domain:string privileges:string[] type:string", "", "name uid"},
		"api":      {"group:group operation:string request:request response:response service:service version:string", "operation", ""},
		"request":  {"containers:any data:any flags:string[] uid:string", "uid", ""},
		"response": {"code:int containers:any data:any error:string error_message:string flags:string[] message:string", "", ""},
		"service":  {entity + "labels:string[] version:string", "", "name uid"},
		"endpoint": {
			entity + "agent_list:any autonomous_system:any domain:string hostname:string hw_info:any instance_uid:string interface_name:string " +
				"interface_uid:string intermediate_ips:ip[] ip:ip location:any mac:string os:any owner:any port:int proxy_endpoint:any subnet_uid:string " +
				"svc_name:string type:string type_id:int vlan_uid:string vpc_uid:string zone:string", "",
			"ip uid name hostname svc_name instance_uid interface_uid interface_name domain",
		},
		"http_request": {"args:string http_headers:any http_method:string length:int referrer:string uid:string url:url user_agent:string version:string x_forwarded_for:ip[]", "", ""},
		"url": {"categories:string[] category_ids:any domain:string hostname:string path:string port:int query_string:string resource_type:string " +
			"scheme:string subdomain:string url_string:string", "", "url_string path"},
		"resource": {entity + "agent_list:any cloud_partition:string criticality:string data:any group:group labels:string[] namespace:string owner:user " +
			"region:string type:string version:string", "", "name uid"},
		"finding_info": {"analytic:analytic attacks:attack[] created_time:int data_sources:string[] desc:string first_seen_time:int kill_chain:any last_seen_time:int " +
			"modified_time:int product_uid:string related_analytics:any related_events:related_event[] src_url:string title:string types:string[] uid:string", "title uid", ""},
		"analytic":      {entity + "category:string desc:string related_analytics:any type:string type_id:int version:string", "type_id", "name uid"},
		"attack":        {"sub_technique:technique tactic:technique tactics:any technique:technique version:string", "", "sub_technique tactic technique"},
		"technique":     {entity + "src_url:string", "", "name uid"},
		"related_event": {"attacks:any kill_chain:any observables:any product_uid:string type:string type_name:string type_uid:int uid:string", "uid", ""},
		"evidence": {
			"actor:actor api:api connection_info:any container:any data:any database:any databucket:any device:any dst_endpoint:endpoint email:any " +
				"file:any job:any process:any query:any src_endpoint:endpoint url:url user:user", "",
			"actor api connection_info data database databucket device dst_endpoint email file process query src_endpoint url user",
		},
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkOCSF holds a line to the shapes and to what the numbers of OCSF mean.
func checkOCSF(t failer, line []byte) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var record map[string]any
	if err := dec.Decode(&record); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	class := fmt.Sprint(record["class_uid"])
	if problem := fits(ocsfShapes(), "class "+class, record); problem != "" {
		t.Fatalf("class %s: %s\n%s", class, problem, line)
	}
	activity := fmt.Sprint(record["activity_id"])
	allowed := map[string][]string{"0": {"0", "99"}, "6003": {"0", "1", "2", "3", "4", "99"}, "2004": {"0", "1", "2", "3", "99"}}[class]
	if !slices.Contains(allowed, activity) {
		t.Fatalf("class %s has no activity %s", class, activity)
	}
	var number int
	if _, err := fmt.Sscan(class, &number); err != nil {
		t.Fatalf("class %s: %v", class, err)
	}
	var act int
	if _, err := fmt.Sscan(activity, &act); err != nil {
		t.Fatalf("activity %s: %v", activity, err)
	}
	if want := fmt.Sprint(number*100 + act); fmt.Sprint(record["type_uid"]) != want {
		t.Fatalf("type_uid %v, want %s", record["type_uid"], want)
	}
	if want := fmt.Sprint(number / 1000); fmt.Sprint(record["category_uid"]) != want {
		t.Fatalf("category_uid %v, want %s", record["category_uid"], want)
	}
	if version := record["metadata"].(map[string]any)["version"]; version != "1.3.0" {
		t.Fatalf("version %v", version)
	}
}

// fits says what of a value is not of its shape, "" for nothing.
func fits(shapes map[string]shape, name string, value any) string {
	if list, ok := strings.CutSuffix(name, "[]"); ok {
		items, ok := value.([]any)
		if !ok {
			return fmt.Sprintf("%v is no list", value)
		}
		for _, item := range items {
			if problem := fits(shapes, list, item); problem != "" {
				return problem
			}
		}
		return ""
	}
	switch name {
	case "any":
		return ""
	case "string", "ip":
		s, ok := value.(string)
		if !ok || s == "" {
			return fmt.Sprintf("%v is no text", value)
		}
		if _, err := netip.ParseAddr(s); err != nil && name == "ip" {
			return err.Error()
		}
		return ""
	case "int":
		n, ok := value.(json.Number)
		if _, err := n.Int64(); !ok || err != nil {
			return fmt.Sprintf("%v is no whole number", value)
		}
		return ""
	}
	s, known := shapes[name]
	members, ok := value.(map[string]any)
	if !known || !ok {
		return fmt.Sprintf("%v is no %s", value, name)
	}
	types := map[string]string{}
	for attribute := range strings.FieldsSeq(s.attributes) {
		attribute, of, _ := strings.Cut(attribute, ":")
		types[attribute] = of
	}
	for member, v := range members {
		if types[member] == "" {
			return fmt.Sprintf("%s has no attribute %s", name, member)
		}
		if problem := fits(shapes, types[member], v); problem != "" {
			return name + "." + member + ": " + problem
		}
	}
	for must := range strings.FieldsSeq(s.required) {
		if members[must] == nil {
			return fmt.Sprintf("%s needs %s", name, must)
		}
	}
	if s.oneOf != "" && !slices.ContainsFunc(strings.Fields(s.oneOf), func(one string) bool { return members[one] != nil }) {
		return fmt.Sprintf("%s needs one of %s", name, s.oneOf)
	}
	return ""
}

// Events of every kind are records of OCSF 1.3.0, and say what they should.
func TestOCSF(t *testing.T) {
	o := newOCSF("1.2.3")
	classes := map[any]int{}
	events := append(people(), hostile(), &audit.Event{Seq: 1, Kind: audit.KindGateway}, &audit.Event{Seq: 2, Kind: audit.KindAlert}, &audit.Event{Seq: 3, Kind: audit.KindAction, Verb: "quarantine"},
		&audit.Event{Seq: 4, Kind: audit.KindAccess, Verb: "approve", More: json.RawMessage(`{"x":1}`), RequestObject: json.RawMessage(`[1]`), AuditID: "a"})
	for _, e := range events {
		line, err := json.Marshal(o.record(e))
		if err != nil {
			t.Fatal(err)
		}
		checkOCSF(t, line)
		classes[o.record(e)["class_uid"]]++
	}
	if classes[6003] != 6 || classes[2004] != 2 || classes[0] != 2 {
		t.Errorf("classes %v", classes)
	}
	get, exec, denied, alert := o.record(events[0]), o.record(events[1]), o.record(events[2]), o.record(events[4])
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"a get", get["type_uid"], 600302},
		{"an exec", exec["type_uid"], 600301},
		{"time", get["time"], noon().UnixMilli() - 30*60*1000},
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
