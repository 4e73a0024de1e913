package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"bulwark.dev/bulwark/test/controltest"
)

// account is the ServiceAccount of the installed controller.
const account = "system:serviceaccount:" + system + ":bulwark-controller"

// auditEvent is what the API server says of one request.
type auditEvent struct {
	Stage, Verb, RequestURI string
	User                    struct{ Username string }
	ObjectRef               struct{ APIGroup, Resource, Subresource, Name, Namespace string }
	ResponseStatus          struct{ Code int }
	Annotations             map[string]string
}

// denied reports whether a permission was missing. Not every 403 is about
// permissions: a namespace that is being deleted takes nothing new.
func (e *auditEvent) denied() bool {
	return e.ResponseStatus.Code == 403 && e.Annotations["authorization.k8s.io/decision"] == "forbid"
}

// trail reads the audit log as it grows.
type trail struct {
	mu     sync.Mutex
	offset int64
	of     map[string][]auditEvent // by user
}

var theTrail = trail{of: map[string][]auditEvent{}}

// audited gives what a user asked the API server for, so far.
func audited(t *testing.T, user string) []auditEvent {
	t.Helper()
	tr := &theTrail
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f, err := os.Open(filepath.Join(controltest.DataDir(), "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(tr.offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the rest of it comes later
		}
		tr.offset += int64(len(line))
		if !bytes.Contains(line, []byte(":serviceaccount:")) {
			continue
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("audit log: %v: %s", err, line)
		}
		tr.of[e.User.Username] = append(tr.of[e.User.Username], e)
	}
	return slices.Clone(tr.of[user])
}

// forbidden counts the controller's requests that its role did not cover.
func forbidden(t *testing.T) (count int, last auditEvent) {
	t.Helper()
	for _, e := range audited(t, account) {
		if e.denied() {
			count++
			last = e
		}
	}
	return count, last
}

// excused is how many refusals were provoked by tests, which run one after the
// other.
var excused int

// quiet fails the test if the controller is refused anything until its end, or
// was before it: the chart's role covers all that the controller does.
func quiet(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if n, e := forbidden(t); n > excused {
			t.Errorf("the controller was refused %d times, last to %s %s", n-excused, e.Verb, e.RequestURI)
			excused = n // tell it once
		}
	})
}

// provoked excuses what the controller was refused until the end of the test.
func provoked(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { excused, _ = forbidden(t) })
}
