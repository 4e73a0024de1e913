package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// parsed is a line of JSON; numbers keep their text.
func parsed(t *testing.T, line string) map[string]any {
	t.Helper()
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%v: %.500s", err, line)
	}
	return m
}

// object is one with what is not there left out.
type object map[string]any

func (o object) set(name string, value any) {
	switch v := value.(type) {
	case nil:
	case string:
		if v != "" {
			o[name] = v
		}
	case object:
		if len(v) > 0 {
			o[name] = map[string]any(v)
		}
	default:
		o[name] = v
	}
}

// event puts the columns of a row back together, as the guide explains them, and as the
// canonical form has them.
func event(t *testing.T, row map[string]any) map[string]any {
	t.Helper()
	tree := func(name string) any {
		text, ok := row[name].(string)
		if !ok {
			return nil
		}
		return parsed(t, `{"value":`+text+`}`)["value"]
	}
	at := func(name string) any {
		text, ok := row[name].(string)
		if !ok {
			return nil
		}
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return when.Format(stamp)
	}
	group := func(names ...string) object {
		o := object{}
		for _, pair := range names {
			name, column, _ := strings.Cut(pair, "=")
			o.set(name, row[column])
		}
		return o
	}
	user := func(prefix string) object {
		o := group("username="+prefix+"username", "uid="+prefix+"uid")
		o.set("groups", tree(prefix+"groups"))
		o.set("extra", tree(prefix+"extra"))
		return o
	}
	e := group("kind=kind", "source=source", "cluster=cluster", "level=level", "stage=stage", "requestURI=request_uri", "verb=verb", "saidVerb=said_verb", "userAgent=user_agent")
	for _, name := range []string{"audit_id", "audit_id_text"} {
		e.set("auditID", row[name])
	}
	e.set("received", at("received"))
	e.set("stageTimestamp", at("stage_at"))
	e.set("requestReceivedTimestamp", at("request_received"))
	e.set("user", user("user_"))
	if _, ok := row["impersonated_username"]; ok {
		e.set("impersonatedUser", user("impersonated_"))
	}
	e.set("sourceIPs", tree("source_ips"))
	ref := group("apiGroup=object_api_group", "apiVersion=object_api_version", "resource=object_resource", "subresource=object_subresource", "namespace=object_namespace",
		"name=object_name", "uid=object_uid", "resourceVersion=object_resource_version_text")
	if n, ok := row["object_resource_version"]; ok {
		ref.set("resourceVersion", fmt.Sprint(n))
	}
	e.set("objectRef", ref)
	e.set("responseStatus", group("code=code", "status=status", "reason=reason", "message=message"))
	annotations := object{}
	if m, ok := tree("annotations").(map[string]any); ok {
		annotations = m
	}
	for name, column := range map[string]string{"authorization.k8s.io/decision": "decision", "authorization.k8s.io/reason": "decision_reason"} {
		if value, ok := row[column]; ok {
			annotations[name] = value // also an empty one
		}
	}
	e.set("annotations", annotations)
	for name, column := range map[string]string{"requestObject": "request_object", "responseObject": "response_object", "redactions": "redactions", "more": "more"} {
		if value, ok := row[column].(string); ok {
			e[name] = parsed(t, `{"value":`+value+`}`)["value"]
		}
	}
	return e
}

// sample is an API server's log with what is hard to keep: every script, long texts,
// numbers that no float64 holds, ids and versions of an unusual form.
func sample(t *testing.T) []byte {
	t.Helper()
	var out []byte
	for i := range 24 {
		e := map[string]any{
			"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": fmt.Sprintf("0f0e0d0c-0000-4000-8000-%012d", i), "stage": "ResponseComplete",
			"requestURI": "/api/v1/namespaces/shop/secrets/db", "verb": "get", "userAgent": "kubectl/v1.36.3",
			"user":      map[string]any{"username": "alice", "uid": "u-1", "groups": []string{"dev", "\"a\\b\"", ""}, "extra": map[string]any{"scopes.example/all": []string{"a", ""}}},
			"sourceIPs": []string{"192.0.2.7", "2001:db8::1"}, "objectRef": map[string]any{"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1", "resourceVersion": "9223372036854775807"},
			"responseStatus": map[string]any{"metadata": map[string]any{}, "code": 200}, "requestReceivedTimestamp": "2026-11-20T10:00:00.000001Z",
			"stageTimestamp": fmt.Sprintf("2026-11-20T10:%02d:59.99999%dZ", i, i%10), "annotations": map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
		}
		pod := map[string]any{"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"}
		switch i {
		case 0:
			e["verb"], e["requestObject"] = "create", json.RawMessage(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"data":{"password":"aHVudGVyMg=="}}`)
		case 1:
			e["verb"], e["objectRef"], e["requestURI"] = "create", pod, "/api/v1/namespaces/shop/pods"
			e["requestObject"] = json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"a","image":"shop/web:1"},{"name":"b","image":"shop/盾:2"}]}}`)
		case 2:
			pod["subresource"] = "exec"
			e["verb"], e["objectRef"], e["requestURI"] = "create", pod, "/api/v1/namespaces/shop/pods/web/exec?command=sh&stdin=true&tty=true"
			e["responseStatus"] = map[string]any{"code": 101}
		case 3:
			e["user"] = map[string]any{"username": "mallory", "groups": []string{"system:masters"}}
			e["impersonatedUser"] = map[string]any{"username": "system:serviceaccount:shop:web", "uid": "u-9", "groups": []string{"x"}, "extra": map[string]any{"k": []string{"v"}}}
		case 4:
			e["verb"], e["responseStatus"] = "delete", map[string]any{"status": "Failure", "reason": "Forbidden", "code": 403, "message": "secrets \"db\" is forbidden"}
			e["annotations"] = map[string]string{"authorization.k8s.io/decision": "forbid", "pod-security.kubernetes.io/audit-violations": "would violate \"restricted:latest\"", "ключ": "значение\x00\u2028🛡"}
		case 5:
			e["auditID"], e["objectRef"] = "no UUID at all", map[string]any{"resource": "widgets", "apiGroup": "盾.example", "name": strings.Repeat("ü🛡", 60_000), "resourceVersion": "007"}
		case 6:
			e["objectRef"] = map[string]any{"resource": "widgets", "apiGroup": "shop.example", "apiVersion": "v1"}
			e["verb"], e["requestObject"] = "update", json.RawMessage(`{"n":[123456789012345678901234567890,0.1000,1e400,-0,null,true,{}],"text":"`+strings.Repeat("langer Text ", 90_000)+`"}`)
		case 7:
			e["auditID"] = "0f0e0d0c-0000-4000-8000-000000000006"
		case 8:
			delete(e, "annotations")
			delete(e, "objectRef")
			delete(e, "sourceIPs")
			delete(e, "responseStatus")
			e["user"], e["requestURI"] = map[string]any{"username": "system:anonymous"}, "/livez?verbose=%F0%9F%92%A9"
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, line...), '\n')
	}
	return out
}
