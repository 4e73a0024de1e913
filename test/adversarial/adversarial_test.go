package adversarial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// least is how many cases there must be, whatever happens to the tables.
const least = 600

// TestAdversarial runs every family and counts. A family that ran no case, or
// too few cases in all, is a failure: an empty list would pass everything else.
func TestAdversarial(t *testing.T) {
	bin := build(t)
	g := start(t, bin)
	own := func(run func(*testing.T, *guarded, *counter)) func(*testing.T, *counter) {
		return func(t *testing.T, n *counter) {
			t.Helper()
			run(t, g, n)
		}
	}
	other := func(run func(*testing.T, string, *counter)) func(*testing.T, *counter) {
		return func(t *testing.T, n *counter) {
			t.Helper()
			run(t, bin, n)
		}
	}
	families := []struct {
		name string
		run  func(*testing.T, *counter)
	}{
		{"path", own(runPaths)},
		{"host", own(runHosts)},
		{"header", own(runHeaders)},
		{"framing", own(runFraming)},
		{"http2", own(runH2)},
		{"flood", own(runFloods)},
		{"token", own(runTokens)},
		{"limit", own(runLimits)},
		{"response", own(runReplies)},
		{"time", own(runTimes)},
		{"leak", own(runLeaks)},
		{"failopen", other(runOpen)},
		{"start", other(runStarts)},
		{"reload", other(runReloads)},
	}
	all := &counter{}
	ran := 0
	for _, f := range families {
		n := &counter{}
		began := false
		t.Run(f.name, func(t *testing.T) {
			began = true
			f.run(t, n)
		})
		if !began {
			continue // left out by -run
		}
		ran++
		if len(n.cases) == 0 {
			t.Errorf("family %s ran no case", f.name)
		}
		t.Logf("%-9s %3d cases", f.name, len(n.cases))
		for _, id := range n.cases {
			all.add(t, id)
		}
	}
	t.Logf("adversarial suite: %d cases in %d families", len(all.cases), ran)
	if ran == len(families) && len(all.cases) < least {
		t.Errorf("only %d cases ran, want at least %d", len(all.cases), least)
	}
}

// runLeaks looks for credentials of the other families in what the gateway
// wrote. It makes its own requests too, so that it can run alone.
func runLeaks(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	n.add(t, "leak-events")
	token := g.keys.es256(t, nil, claims())
	const password = "cGFydG5lcjpodXNoLWh1c2g="
	for _, send := range []string{
		get("/admin", "Authorization: Bearer "+token), get("/admin", "Authorization: Bearer x"+token),
		get("/admin?access_token=" + token), get("/key", "X-API-Key: "+apiKey), get("/key?X-API-Key=" + apiKey),
		get("/admin", "Authorization: Basic "+password), get("/public", "Cookie: session=hush-hush"),
	} {
		converse(t, g.dial(t, ""), send, manner{})
	}
	var faults []string
	written := eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join(g.data, "events.jsonl"))
		return err == nil && strings.Contains(string(b), "/key")
	})
	if !written {
		t.Error("CASE leak-events: no event of the requests was written")
	}
	secrets := map[string]string{
		"a token": token, "a signature": token[strings.LastIndexByte(token, '.')+1:], "an API key": apiKey, "a password": password, "a cookie": "hush-hush",
	}
	err := filepath.WalkDir(g.data, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for what, s := range secrets {
			if strings.Contains(string(b), s) {
				faults = append(faults, d.Name()+" holds "+what)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range secrets {
		if strings.Contains(g.output.String(), s) {
			faults = append(faults, "the log holds "+what)
		}
	}
	if len(faults) > 0 {
		report(t, "leak-events", "kgateway-dev/kgateway#8160, apache/apisix#13347", "credentials in events and logs", "", "", nil, faults)
	}
}
