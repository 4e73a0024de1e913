package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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
}

// audited gives what a user asked the API server for, so far.
func audited(t *testing.T, user string) []auditEvent {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(controltest.DataDir(), "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []auditEvent
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(user)) {
			continue
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			continue // the last line may be half written
		}
		if e.User.Username == user {
			out = append(out, e)
		}
	}
	return out
}

// forbidden counts the controller's requests that its role did not cover.
func forbidden(t *testing.T) (count int, last auditEvent) {
	t.Helper()
	for _, e := range audited(t, account) {
		if e.ResponseStatus.Code == 403 {
			count++
			last = e
		}
	}
	return count, last
}

// quiet fails the test if the controller is refused anything until its end, or
// was before it: the chart's role covers all that the controller does.
func quiet(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if n, e := forbidden(t); n > 0 {
			t.Errorf("the controller was refused %d times, last to %s %s", n, e.Verb, e.RequestURI)
		}
	})
}
