package detect_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
)

// behaviourRules are the rules about behaviour that Bulwark ships.
func behaviourRules(tb testing.TB) *detect.Set {
	tb.Helper()
	sub, err := fs.Sub(content(), "behaviour")
	if err != nil {
		tb.Fatal(err)
	}
	set, err := detect.Load(sub)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// ordinary is the benign traffic once more, some days later, as it differs from day to
// day: other times, addresses, versions, names, and now and then something left out or
// done several times.
func ordinary(r *rand.Rand, events []*audit.Event, day int) []*audit.Event {
	var out []*audit.Event
	for _, e := range events {
		for range 1 + r.IntN(3) - r.IntN(2) {
			c := *e
			shift := time.Duration(day)*24*time.Hour + time.Duration(r.IntN(3600))*time.Second
			c.RequestReceived, c.StageAt, c.Received = c.RequestReceived.Add(shift), c.StageAt.Add(shift), c.StageAt.Add(shift+time.Second)
			if len(c.SourceIPs) == 1 && strings.HasPrefix(c.SourceIPs[0], "10.") {
				c.SourceIPs = []string{fmt.Sprintf("10.%d.%d.%d", r.IntN(4), r.IntN(256), r.IntN(256))}
			}
			c.UserAgent = strings.NewReplacer("/v1.", fmt.Sprintf("/v1.%d", day/10), "/v2.", fmt.Sprintf("/v2.%d", day/5)).Replace(c.UserAgent)
			if c.Object.Name != "" && c.Object.Namespace != "" && r.IntN(2) == 0 {
				c.Object.Name += fmt.Sprint("-", r.IntN(1000))
			}
			out = append(out, &c)
		}
	}
	return out
}

// TestBehaviourIsQuietOnOrdinaryLife lets the shipped rules learn the benign traffic for
// weeks. Then they say nothing of it, and tell what nobody did before.
func TestBehaviourIsQuietOnOrdinaryLife(t *testing.T) {
	t.Parallel()
	engine, err := detect.NewEngine(behaviourRules(t), detect.Config{})
	if err != nil {
		t.Fatal(err)
	}
	events, r := benign(t), rand.New(rand.NewPCG(1, 2))
	seq, shown := uint64(0), 0
	observe := func(e *audit.Event) []detect.Alert {
		seq++
		e.Seq = seq
		return engine.Observe(e)
	}
	const days = 25
	for day := range days {
		for _, e := range ordinary(r, events, day) {
			shown++
			for _, a := range observe(e) {
				t.Errorf("day %d: %s (%s): %s", day, a.Rule, a.Severity, a.Summary)
			}
		}
	}
	stats := engine.Stats().Behaviour
	t.Logf("%d events, %+v", shown, stats)
	if shown < days*leastBenign || stats.Identities < 50 || stats.Evicted+stats.Refused+stats.Unjudged+stats.Late > 0 {
		t.Errorf("%d events, %+v", shown, stats)
	}
	// The same identities, with something that is not theirs.
	accounts := map[string]bool{}
	alerting := 0
	for _, e := range ordinary(r, events, days) {
		who := e.User.Username
		if !strings.HasPrefix(who, "system:serviceaccount:") || strings.HasPrefix(who, "system:serviceaccount:kube-system:") || accounts[who] || !e.Succeeded() {
			continue
		}
		accounts[who] = true
		e.Verb, e.UserAgent, e.SourceIPs = "list", "curl/8.9.1", []string{"203.0.113.77"}
		e.Object = audit.ObjectRef{Resource: "secrets", APIVersion: "v1", Namespace: "kube-public"}
		rules := map[string]bool{}
		for _, a := range observe(e) {
			rules[a.Rule] = true
		}
		if !rules["serviceaccount-with-new-client"] && !rules["serviceaccount-from-new-network"] && !rules["serviceaccount-does-something-new"] {
			t.Logf("%s: %v", who, rules)
			continue
		}
		alerting++
	}
	if alerting < 5 || alerting < len(accounts)*2/3 {
		t.Errorf("%d of %d accounts that are misused are told of", alerting, len(accounts))
	}
}
