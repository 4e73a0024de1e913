package detect_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
)

// content is the rules that Bulwark ships.
func content() fs.FS { return catalog.Detections() }

// loaded is the set of content, which nothing changes: to read it is most of these tests.
var loaded = sync.OnceValues(func() (*detect.Set, error) { return detect.Load(content()) })

func loadContent(tb testing.TB) *detect.Set {
	tb.Helper()
	set, err := loaded()
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range set.Skipped {
		tb.Errorf("%s:%d: %s is skipped: %s", s.File, s.Line, s.Rule, s.Why)
	}
	return set
}

// salts are bytes that are the same in every run.
type salts struct{ state [sha256.Size]byte }

func (s *salts) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		s.state = sha256.Sum256(s.state[:])
		n += copy(p[n:], s.state[:])
	}
	return n, nil
}

// newDecoder reads events as the product does: redacted before any rule sees them.
func newDecoder(tb testing.TB) *ingest.Decoder {
	tb.Helper()
	redactor, err := redact.New(&salts{}, false)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return &ingest.Decoder{Source: "test", Now: func() time.Time { return now }, Redact: redactor.Redact}
}

// The rules and tests that the catalog is known to have, so that a folder that is not
// found, or a form that is not read, does not pass as no rules.
const (
	leastDetections = 135
	leastTests      = 1450
)

func TestContentIsWellFormed(t *testing.T) {
	set := loadContent(t)
	for _, f := range set.Lint() {
		t.Errorf("%s:%d: %s: %s (%s)", f.File, f.Line, f.Rule, f.Message, f.Severity)
	}
	files := 0
	err := fs.WalkDir(content(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(name) == ".yaml" {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files != len(set.Rules) {
		t.Errorf("%d files give %d rules; expected one in each", files, len(set.Rules))
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	ids := map[string]string{}
	alerting := 0
	for _, r := range set.Rules {
		if want := strings.TrimSuffix(path.Base(r.File), ".yaml"); r.Key != want {
			t.Errorf("%s: its name is %q, not that of its file", r.File, r.Key)
		}
		if !uuid.MatchString(r.ID) {
			t.Errorf("%s: id %q is no UUID of version 4", r.File, r.ID)
		}
		if other := ids[r.ID]; other != "" {
			t.Errorf("%s: its id is that of %s", r.File, other)
		}
		ids[r.ID] = r.File
		checkTags(t, r)
		if derived := r.NeedsLevel(); r.MinimumLevel != derived {
			t.Errorf("%s: minimumLevel is %s, its fields need %s", r.File, r.MinimumLevel, derived)
		}
		if r.Description == "" || r.Status == "" || r.Author == "" || r.Title == "" || len(r.Kinds) == 0 {
			t.Errorf("%s: title, description, status, author or log source is missing", r.File)
		}
		if r.Quiet && r.Severity != bulwark.SeverityInfo {
			t.Errorf("%s: it does not alert, so that its level must be informational", r.File)
		}
		if !r.Quiet {
			alerting++
		}
	}
	t.Logf("%d rules, of which %d alert", len(set.Rules), alerting)
	if alerting < leastDetections {
		t.Errorf("%d rules alert; expected at least %d", alerting, leastDetections)
	}
}

// checkTags holds a rule's tags against ATT&CK's form: tactics by name, of which the
// folder is one, and techniques by number.
func checkTags(t *testing.T, r *detect.Rule) {
	t.Helper()
	tactics := []string{
		"reconnaissance", "resource-development", "initial-access", "execution", "persistence", "privilege-escalation", "defense-evasion",
		"credential-access", "discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
	}
	technique := regexp.MustCompile(`^t\d{4}(\.\d{3})?$`)
	var found, techniques int
	for i, tag := range r.Tags {
		name, ok := strings.CutPrefix(tag, "attack.")
		switch {
		case !ok:
			t.Errorf("%s: tag %q is not of ATT&CK", r.File, tag)
		case slices.Contains(tactics, name):
			found++
		case technique.MatchString(name):
			techniques++
		default:
			t.Errorf("%s: tag %q is neither a tactic nor a technique", r.File, tag)
		}
		if slices.Contains(r.Tags[:i], tag) {
			t.Errorf("%s: tag %q stands there twice", r.File, tag)
		}
	}
	if found == 0 || techniques == 0 {
		t.Errorf("%s: it needs a tactic and a technique, and has %q", r.File, r.Tags)
	}
	// Rules about the trail itself stand together, and so do those about behaviour.
	if folder := path.Dir(r.File); folder != "trail" && folder != "behaviour" && !slices.Contains(r.Tags, "attack."+folder) {
		t.Errorf("%s: the folder %q is none of its tactics", r.File, folder)
	}
}

func TestContentTests(t *testing.T) {
	set := loadContent(t)
	type count struct{ yes, no int }
	ran := map[string]*count{}
	for _, r := range set.Rules {
		ran[r.Key] = &count{}
	}
	results := set.Test(newDecoder(t).Decode)
	for _, result := range results {
		if result.Want {
			ran[result.Rule].yes++
		} else {
			ran[result.Rule].no++
		}
		switch {
		case result.Err != nil:
			t.Errorf("%s: %q: %v", result.File, result.Name, result.Err)
		case !result.OK():
			t.Errorf("%s: %q: alerts %v, expected %v", result.File, result.Name, result.Got, result.Want)
		}
		for _, a := range result.Alerts {
			if a.Summary == "" || strings.ContainsAny(a.Summary, "{}") {
				t.Errorf("%s: %q: summary %q", result.File, result.Name, a.Summary)
			}
		}
	}
	for name, c := range ran {
		if c.yes < 1 || c.no < 2 {
			t.Errorf("%s: %d alerting and %d other tests; expected at least 1 and 2", name, c.yes, c.no)
		}
	}
	t.Logf("%d tests ran", len(results))
	if len(results) < leastTests {
		t.Errorf("%d tests ran; expected at least %d", len(results), leastTests)
	}
}

// leastBenign is how many events the benign traffic has at least.
const leastBenign = 350

// benign gives the ordinary traffic of a cluster, in its order.
func benign(tb testing.TB) []*audit.Event {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "benign.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	decoder := newDecoder(tb)
	var out []*audit.Event
	lines := bufio.NewReader(bytes.NewReader(text))
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			entries, err := decoder.Decode(line)
			if err != nil || len(entries) != 1 || entries[0].Event.Kind != audit.KindAPI {
				tb.Fatalf("benign.jsonl:%d: %d events: %v", n, len(entries), err)
			}
			entries[0].Event.Seq = uint64(len(out) + 1)
			out = append(out, entries[0].Event)
		}
		if err == io.EOF {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func TestContentIsQuietOnBenignTraffic(t *testing.T) {
	set := loadContent(t)
	engine, err := detect.NewEngine(set, detect.Config{})
	if err != nil {
		t.Fatal(err)
	}
	events := benign(t)
	informational := 0
	for _, e := range events {
		for _, a := range engine.Observe(e) {
			if a.Severity == bulwark.SeverityInfo {
				informational++
				continue
			}
			t.Errorf("event %d: %s (%s): %s: %s %s by %s", e.Seq, a.Rule, a.Severity, a.Summary, e.Verb, e.RequestURI, e.User.Username)
		}
	}
	t.Logf("%d events, %d informational alerts", len(events), informational)
	if len(events) < leastBenign {
		t.Errorf("%d events; expected at least %d", len(events), leastBenign)
	}
}

// BenchmarkContent is what all rules cost for one event of ordinary traffic.
func BenchmarkContent(b *testing.B) {
	engine, err := detect.NewEngine(loadContent(b), detect.Config{})
	if err != nil {
		b.Fatal(err)
	}
	events := benign(b)
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		// A copy: bodies that were looked at before would cost nothing.
		e := *events[seq%uint64(len(events))]
		seq++
		e.Seq = seq
		engine.Observe(&e)
	}
}
