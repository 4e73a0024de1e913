package ingest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
)

var updateDecode = flag.Bool("update-decode", false, "rewrite the events in testdata/decode")

// plainDecoder redacts nothing.
func plainDecoder() *Decoder {
	return &Decoder{
		Source: "test",
		Now:    func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 999, time.FixedZone("x", 3600)) },
		Redact: func(*audit.Event) []audit.Opening { return nil },
	}
}

// TestDecode reads each document of testdata/decode and compares the events' canonical
// form, a line each.
func TestDecode(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil || len(files) < 9 {
		t.Fatalf("found %d documents, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := archive.Files[0].Data
			entries, err := plainDecoder().Decode(in)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, entry := range entries {
				line := audit.AppendCanonical(nil, entry.Event)
				if _, err := audit.ParseCanonical(line); err != nil {
					t.Error(err)
				}
				got.Write(append(line, '\n'))
			}
			if *updateDecode {
				archive.Files = []txtar.File{archive.Files[0], {Name: "events.jsonl", Data: got.Bytes()}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) != 2 || got.Len() == 0 {
				t.Fatalf("%d files, and %d bytes of events", len(archive.Files), got.Len())
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", " ", "{", "nonsense", `{"kind":"Event"`, `{"kind":"Event","verb":get}`, `{"kind":"Event"} {}`, `{"kind":"EventList","items":[{"kind":"Event"},]}`,
		`{"kind":"Event","requestObject":{"a":1,"a":tru}}`, `[{"verb":"get"}`, "{\"verb\":\"a\nb\"}", `{"kind":"Event","verb":5,"x":}`, "\xef\xbb\xbf{}",
	} {
		entries, err := plainDecoder().Decode([]byte(in))
		if err == nil || entries != nil {
			t.Errorf("%q: %d entries, %v", in, len(entries), err)
		}
	}
	for _, d := range []*Decoder{
		{},
		{Source: "x", Now: time.Now},
		{Source: "x", Redact: plainDecoder().Redact},
		{Now: time.Now, Redact: plainDecoder().Redact},
	} {
		if _, err := d.Decode([]byte(`{"kind":"Event"}`)); err == nil {
			t.Error("a decoder that is not complete decodes")
		}
	}
}

// TestDecodeLeavesTheDocument: the caller may use its memory again.
func TestDecodeLeavesTheDocument(t *testing.T) {
	t.Parallel()
	doc := metadataEvent()
	entries, err := plainDecoder().Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	before := audit.AppendCanonical(nil, entries[0].Event)
	for i := range doc {
		doc[i] = 'x'
	}
	if diff := cmp.Diff(string(before), string(audit.AppendCanonical(nil, entries[0].Event))); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeRepeats: nothing that looks the same is left out.
func TestDecodeRepeats(t *testing.T) {
	t.Parallel()
	e := string(metadataEvent())
	entries, err := plainDecoder().Decode([]byte("[" + e + "," + e + "," + e + "]"))
	if err != nil || len(entries) != 3 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestDecodeRedacts(t *testing.T) {
	t.Parallel()
	d := plainDecoder()
	var saw []string
	d.Redact = func(e *audit.Event) []audit.Opening {
		saw = append(saw, e.Verb)
		e.RequestObject = json.RawMessage(`"gone"`)
		return []audit.Opening{{Path: "requestObject"}}
	}
	entries, err := d.Decode([]byte(`[{"verb":"get","objectRef":{"resource":"pods","subresource":"exec"},"requestObject":{"a":1}},5]`))
	if err != nil || len(entries) != 2 {
		t.Fatal(len(entries), err)
	}
	if string(entries[0].Event.RequestObject) != `"gone"` || len(entries[0].Openings) != 1 || len(entries[1].Openings) != 0 {
		t.Errorf("%+v", entries)
	}
	if diff := cmp.Diff([]string{"create"}, saw); diff != "" {
		t.Errorf("redaction saw %s", diff)
	}
}

// TestDecodeWithRedactor: what the real redaction leaves can be written and read.
func TestDecodeWithRedactor(t *testing.T) {
	t.Parallel()
	redactor, err := redact.New(rand.Reader, true)
	if err != nil {
		t.Fatal(err)
	}
	d := plainDecoder()
	d.Redact = redactor.Redact
	in := `[{"kind":"Event","verb":"create","objectRef":{"resource":"secrets","namespace":"shop","name":"db"},"requestObject":{"kind":"Secret","data":{"b":"c2VjcmV0","a":"c2VjcmV0"}}},` +
		`{"kind":"Event","verb":"get","requestURI":"/api/v1/namespaces/shop/pods/web/exec?command=mysql&command=-phunter22","objectRef":{"resource":"pods","subresource":"exec"}}]`
	entries, err := d.Decode([]byte(in))
	if err != nil || len(entries) != 2 {
		t.Fatal(len(entries), err)
	}
	for _, entry := range entries {
		text := audit.AppendCanonical(nil, entry.Event)
		if _, err := audit.ParseCanonical(text); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		if bytes.Contains(text, []byte("hunter22")) || bytes.Contains(text, []byte("c2VjcmV0")) || len(entry.Event.Redactions) == 0 {
			t.Errorf("%s", text)
		}
	}
}

// TestUnreadable: what could not be understood is told, and not repeated.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("secret", 1000)
	for _, in := range []string{
		fmt.Sprintf(`{"kind":%q}`, long), fmt.Sprintf(`{"kind":"Event","x":{},"%s":1,"%s":2}`, long, long), fmt.Sprintf(`{"records":[{"properties":{"log":"{%s"}}]}`, long), fmt.Sprintf(`%q`, long),
	} {
		entries, err := plainDecoder().Decode([]byte(in))
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		e := entries[0].Event
		if text := audit.AppendCanonical(nil, e); e.Kind != audit.KindSystem || len(text) > 600 || bytes.Count(text, []byte("secret")) > 10 {
			t.Errorf("%s", text)
		}
	}
}

// TestDecodeLarge: an event that is too large keeps what matters, within the limit.
func TestDecodeLarge(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 50_000)
	many := strings.TrimSuffix(strings.Repeat(`"group",`, 50_000), ",")
	var extra strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&extra, `,"k%d":["v"]`, i)
	}
	tests := []struct {
		name, in string
		cut      bool
	}{
		{"body", `"requestObject":{"a":"` + long + `"},"responseObject":["` + long + `"],"other":"` + long + `"`, false},
		{"address", `"requestURI":"/api/v1/namespaces/shop/pods/web/exec?x=` + long + `"`, true},
		{"groups", `"user":{"groups":[` + many + `]}`, true},
		{"extra", `"user":{"extra":{"` + long + `":["` + long + `"]` + extra.String() + `}}`, true},
		{"annotations", `"annotations":{"` + long + `":"` + long + `","` + long + `2":"` + long + `"}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := plainDecoder()
			d.MaxEvent = 64 << 10
			small := `{"kind":"Event","auditID":"small","requestObject":{"a":1}}`
			in := `[` + small + `,{"kind":"Event","auditID":"large","verb":"get","objectRef":{"resource":"pods","subresource":"exec"},` + tt.in + `},` + small + `]`
			entries, err := d.Decode([]byte(in))
			if err != nil || len(entries) != 3 {
				t.Fatal(len(entries), err)
			}
			for i, entry := range entries {
				e := entry.Event
				text := audit.AppendCanonical(nil, e)
				if _, err := audit.ParseCanonical(text); err != nil || len(text) > d.MaxEvent || !utf8.Valid(text) {
					t.Errorf("%d bytes, %v", len(text), err)
				}
				if i != 1 {
					if string(e.RequestObject) != `{"a":1}` || e.Annotations != nil {
						t.Errorf("the small event: %s", text)
					}
					continue
				}
				if e.AuditID != "large" || e.Verb != "create" || e.Object.Resource != "pods" || e.RequestObject != nil || e.ResponseObject != nil || e.More != nil {
					t.Errorf("the large event: %.200s", text)
				}
				if (e.Annotations[NoteCut] != "") != tt.cut || (e.Annotations[NoteDropped] != "") == tt.cut {
					t.Errorf("it says %q and %q", e.Annotations[NoteCut], e.Annotations[NoteDropped])
				}
			}
		})
	}
}

// TestDecodeDeep: nobody gets an event dropped by nesting.
func TestDecodeDeep(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, in := range []string{
		`{"kind":"Event","verb":"get","requestObject":` + deep + `}`,
		`{"requestObject":` + deep + `,"verb":"get","kind":"Event"}`,
		`{"kind":"Event","verb":"get","user":{"x":` + deep + `}}`,
	} {
		entries, err := plainDecoder().Decode([]byte(in))
		if err != nil || len(entries) != 1 || entries[0].Event.Verb != "get" || !strings.Contains(entries[0].Event.Annotations[NoteDropped], "deeper") {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	}
	for _, in := range []string{deep, strings.Repeat(`{"kind":"EventList","items":[`, 50_000) + strings.Repeat("]}", 50_000), strings.Repeat(`{"records":[`, 50_000) + strings.Repeat("]}", 50_000)} {
		entries, err := plainDecoder().Decode([]byte(in))
		if err != nil || len(entries) != 1 || entries[0].Event.Kind != audit.KindSystem {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	}
}

// TestDecodeMany: no document takes much more than its own size of memory and time.
func TestDecodeMany(t *testing.T) {
	t.Parallel()
	var names strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&names, `"name%d":"value",`, i)
	}
	event := `{"message":{"verb":"get"}}`
	d := plainDecoder()
	d.MaxEvent = 64 << 10
	entries, err := d.Decode([]byte(`{"owner":"x",` + names.String() + `"logEvents":[` + strings.Repeat(event+",", 999) + event + `]}`))
	if err != nil || len(entries) != 1000 {
		t.Fatal(len(entries), err)
	}
	if n := len(entries[999].Event.More); n == 0 || n > 2*maxSaid {
		t.Errorf("%d bytes of the envelope in each event", n)
	}
	entries, err = d.Decode([]byte(`{"kind":"Event",` + names.String() + `"verb":"get"}`))
	if err != nil || len(entries) != 1 || entries[0].Event.Verb != "get" || entries[0].Event.More != nil {
		t.Fatal(entries, err)
	}
	entries, err = d.Decode([]byte(`{"kind":"Event","user":{"extra":{` + strings.Repeat(`"a":["1"],`, 200_000) + `"a":["2"]}}}`))
	if err != nil || len(entries) != 1 || entries[0].Event.Kind != audit.KindAPI {
		t.Fatal(entries, err)
	}
	in := []byte("[" + strings.Repeat("5,", maxEntries) + "5]")
	if entries, err := d.Decode(in); err == nil || entries != nil {
		t.Errorf("%d entries of one document, %v", len(entries), err)
	}
	if entries, err := d.Decode(append(in[:len(in)-3], ']')); err != nil || len(entries) != maxEntries {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestDecodeControlMessage(t *testing.T) {
	t.Parallel()
	entries, err := plainDecoder().Decode([]byte(`{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logEvents":[{"id":"","message":"CWL CONTROL MESSAGE: Checking health of destination"}]}`))
	if err != nil || len(entries) != 0 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestDecodeAtOnce(t *testing.T) {
	t.Parallel()
	d := plainDecoder()
	want := audit.AppendCanonical(nil, decodeOne(t, d, metadataEvent()))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				entries, err := d.Decode(metadataEvent())
				if err != nil || !bytes.Equal(audit.AppendCanonical(nil, entries[0].Event), want) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func decodeOne(t *testing.T, d *Decoder, in []byte) *audit.Event {
	t.Helper()
	entries, err := d.Decode(in)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	return entries[0].Event
}

// FuzzDecode: a document is an error if, and only if, it is no JSON; every event can
// be written and read again; and an event says what encoding/json reads in it.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal(len(files), err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
		var list []json.RawMessage
		if json.Unmarshal(archive.Files[0].Data, &list) == nil {
			for _, doc := range list {
				f.Add([]byte(doc))
			}
		}
	}
	f.Add(metadataEvent())
	d := plainDecoder()
	d.MaxEvent = 4096
	f.Fuzz(func(t *testing.T, in []byte) {
		entries, err := d.Decode(in)
		if valid := json.Valid(in); (err == nil) != valid && len(in) < maxEntries && bytes.Count(in, []byte{'['})+bytes.Count(in, []byte{'{'}) < 10_000 {
			t.Fatalf("valid %t, but %v", valid, err)
		}
		for _, entry := range entries {
			text := audit.AppendCanonical(nil, entry.Event)
			e, err := audit.ParseCanonical(text)
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if again := audit.AppendCanonical(nil, e); !bytes.Equal(text, again) {
				t.Fatalf("%s came back as %s", text, again)
			}
		}
		var m map[string]any
		if len(entries) != 1 || entries[0].Event.Kind != audit.KindAPI || json.Unmarshal(in, &m) != nil || m["protoPayload"] != nil && m["kind"] == nil || m["kind"] == nil && m["verb"] == nil || m["kind"] != nil && m["kind"] != "Event" {
			return
		}
		e := entries[0].Event
		if e.Annotations[NoteCut] != "" {
			return
		}
		same := func(what, got string, path ...string) {
			if want := dig(m, path...); got != want {
				t.Fatalf("%s is %q, want %q", what, got, want)
			}
		}
		same("level", e.Level, "level")
		same("auditID", e.AuditID, "auditID")
		same("stage", e.Stage, "stage")
		same("requestURI", e.RequestURI, "requestURI")
		if e.SaidVerb != "" {
			same("saidVerb", e.SaidVerb, "verb")
		} else {
			same("verb", e.Verb, "verb")
		}
		same("user", e.User.Username, "user", "username")
		same("uid", e.User.UID, "user", "uid")
		same("userAgent", e.UserAgent, "userAgent")
		same("message", e.Status.Message, "responseStatus", "message")
		if m["objectRef"] != nil && e.Object != (audit.ObjectRef{}) && e.RequestURI == "" {
			same("resource", e.Object.Resource, "objectRef", "resource")
			same("name", e.Object.Name, "objectRef", "name")
			same("namespace", e.Object.Namespace, "objectRef", "namespace")
		}
	})
}

// dig goes down an object and gives the string there, or "".
func dig(at any, path ...string) string {
	for _, name := range path {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	s, _ := at.(string)
	return s
}

// metadataEvent is an event of level Metadata, of the size that they have in practice.
func metadataEvent() []byte {
	return []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"0a1b2c3d-1111-2222-3333-444455556666","stage":"ResponseComplete",` +
		`"requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-17?timeout=10s\u0026x=1","verb":"update",` +
		`"user":{"username":"system:serviceaccount:kube-system:generic-garbage-collector","uid":"7d9a2f6e-0f53-4c0e-9d0a-0a8a3f6b7c11","groups":["system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"],` +
		`"extra":{"authentication.kubernetes.io/credential-id":["JTI=0f6d2a3b-88aa-4c1f-9be1-5d0d0e0f1a2b"],"authentication.kubernetes.io/node-name":["node-17.example.internal"]}},` +
		`"sourceIPs":["10.20.30.40"],"userAgent":"kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/1a2b3c4/generic-garbage-collector",` +
		`"objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"node-17","uid":"b1c2d3e4-aaaa-bbbb-cccc-ddddeeeeffff","apiGroup":"coordination.k8s.io","apiVersion":"v1","resourceVersion":"123456789"},` +
		`"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-21T10:00:00.100001Z","stageTimestamp":"2026-11-21T10:00:00.104242Z",` +
		`"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"system:controller:generic-garbage-collector\" of ClusterRole \"system:controller:generic-garbage-collector\""}}`)
}

// BenchmarkDecode tells the time of one event in a list of a hundred, as a webhook
// sends it.
func BenchmarkDecode(b *testing.B) {
	const n = 100
	one := bytes.Replace(metadataEvent(), []byte(`"kind":"Event","apiVersion":"audit.k8s.io/v1",`), nil, 1)
	list := append([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`), one...)
	for range n - 1 {
		list = append(append(list, ','), one...)
	}
	benchmarkDecode(b, append(list, "]}"...), n)
}

// BenchmarkDecodeLine tells the time of one event alone, as in a log file.
func BenchmarkDecodeLine(b *testing.B) { benchmarkDecode(b, metadataEvent(), 1) }

func benchmarkDecode(b *testing.B, doc []byte, n int) {
	b.Helper()
	d := plainDecoder()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if entries, err := d.Decode(doc); err != nil || len(entries) != n {
			b.Fatal(len(entries), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
	b.ReportMetric(float64(len(doc)/n), "B/event")
}
