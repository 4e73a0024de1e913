package query

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/plain"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

func env() Env { return Env{Now: searchtest.Noon()} }

func mustParse(tb testing.TB, text string) *Query {
	tb.Helper()
	q, err := Parse(text, env())
	if err != nil {
		if problem, ok := errors.AsType[*Error](err); ok {
			tb.Fatalf("%v\n%s", err, problem.Caret())
		}
		tb.Fatal(err)
	}
	return q
}

// Queries, how they read, and which of the events of people they find.
func TestQueries(t *testing.T) {
	for _, tt := range []struct {
		query string
		form  string // "" where it is the query itself
		finds []uint64
	}{
		{"", "", []uint64{1, 2, 3, 4, 5}},
		{"user=alice", "", []uint64{1, 2, 5}},
		{"actor=alice", "", []uint64{1, 2, 5}},
		{"actor=root", "", nil},
		{"user=root", "", []uint64{2}},
		{"user.username=alice", "", []uint64{1, 5}},
		{"user=Alice", "", nil},
		{"user~=Alice", "", []uint64{1, 2, 5}},
		{"user!~=Alice kind=api", "-user~=Alice kind=api", []uint64{3}},
		{"user=alice verb=get resource=secrets since=2h", "user=alice verb=get resource=secrets time=2026-11-21T10:00:00Z..", []uint64{1}},
		{"user=system:serviceaccount:*", "", []uint64{3}},
		{`user="system:serviceaccount:*"`, "", nil},
		{"user=*:shop:?eployer", "", []uint64{3}},
		{"group=ops", "", []uint64{2}},
		{"group=(dev,ops)", "", []uint64{1, 2}},
		{"actor.groups=ops", "", []uint64{2}},
		{"verb=(get, patch , list)", "verb=(get,patch,list)", []uint64{1, 3}},
		{"verb!=(get,patch)", "-verb=(get,patch)", []uint64{2, 4, 5}},
		{"verb=get or verb=patch", "", []uint64{1, 3}},
		{"verb=get OR NOT kind=api", "verb=get or -kind=api", []uint64{1, 4, 5}},
		{"(verb=get or verb=patch) AND ns=shop", "(verb=get or verb=patch) ns=shop", []uint64{1, 3}},
		{"verb=get or verb=patch ns=shop name=cart", "", []uint64{1, 3}},
		{"-(verb=get or verb=patch) kind=api", "", []uint64{2}},
		{"not -verb=get", "-(-verb=get)", []uint64{1}},
		{"resource=pods", "", []uint64{2}},
		{"resource=pods/exec", "", []uint64{2}},
		{"resource=pods/log", "", nil},
		{"resource=deployments", "", []uint64{3}},
		{"resource=deployments.apps", "", []uint64{3}},
		{"resource=*/exec", "", []uint64{2}},
		{`resource=""`, "", []uint64{4, 5}},
		{"resource!=*", "-resource=*", []uint64{4, 5}},
		{"-resource=*", "", []uint64{4, 5}},
		{`verb=(get,"")`, "", []uint64{1, 4}},
		{"code=200", "", []uint64{1}},
		{`code="200"`, "code=200", []uint64{1}},
		{"code=400..499", "", []uint64{3}},
		{"code=(101,400..)", "", []uint64{2, 3}},
		{"code=..199", "", []uint64{2}},
		{"code>=200", "", []uint64{1, 3}},
		{"code<200", "", []uint64{2}},
		{"code=4*", "", []uint64{3}},
		{"code!=*", "-code=*", []uint64{4, 5}},
		{"ip=10.0.0.0/8", "", []uint64{1, 2}},
		{"ip=(10.1.2.3,2001:db8::/32)", "", []uint64{1, 3}},
		{"ip=10.1.2.3/8", "ip=10.0.0.0/8", []uint64{1, 2}},
		{"ip=::ffff:10.1.2.3", "ip=10.1.2.3", []uint64{1}},
		{"ip=::ffff:10.0.0.0/104", "ip=10.0.0.0/8", []uint64{1, 2}},
		{"ip=2001:DB8:0::1", "ip=2001:db8::1", []uint64{3}},
		{"ip=192.*", "", []uint64{2}},
		{"agent=*linux*", "", []uint64{1}},
		{"uri=*?command=*", "", []uint64{2}},
		{"uri=/api/v1/namespaces/shop/secrets/db?pretty=true", "", []uint64{1}},
		{"id=11111111-1111-4111-8111-111111111111", "", []uint64{1}},
		{"seq=2..3", "", []uint64{2, 3}},
		{"seq>4", "", []uint64{5}},
		{"source=webhook/*", "", []uint64{1, 2}},
		{"kind=alert", "", []uint64{5}},
		{"rule=secrets-list", "", []uint64{5}},
		{"severity>=medium", "", []uint64{5}},
		{"severity>high", "", nil},
		{"reason=Forbidden", "", []uint64{3}},
		{"decision=forbid", "", []uint64{3}},
		{"decision!=allow kind=api", "-decision=allow kind=api", []uint64{2, 3}},
		{"saidVerb=get", "", []uint64{2}},
		{"succeeded=false", "", []uint64{3}},
		{"level=Request", "", []uint64{3}},
		{"annotations.authorization.k8s.io/decision=*", "", []uint64{1, 3}},
		{"user.extra.scopes=b", "", []uint64{3}},
		{"requestObject.spec.replicas=3", "", []uint64{3}},
		{"requestObject.spec.replicas>2.5", "", []uint64{3}},
		{"requestObject.spec.replicas=1..2", "", nil},
		{"requestObject.spec.containers.image=proxy:*", "", []uint64{3}},
		{`requestObject.metadata.labels.app\.kubernetes\.io/name=cart`, "", []uint64{3}},
		{`requestObject.spec.empty="" verb=patch`, "", []uint64{3}},
		{`requestObject.spec.none="" verb=patch`, "", []uint64{3}},
		{`requestObject.spec.none=*`, "", nil},
		{"requestObject=*", "", []uint64{3}},
		{"more.title=Secrets*", "", []uint64{5}},
		{"alice", `"alice"`, []uint64{1, 2, 5}},
		{"FORBIDDEN", `"FORBIDDEN"`, []uint64{3}},
		{`"was read"`, "", nil},
		{`"were read"`, "", []uint64{5}},
		{`"read \"db\""`, "", []uint64{5}},
		{`"\"verb\":\"patch\""`, "", []uint64{3}},
		{"segment*sealed", `"segment"*"sealed"`, []uint64{4}},
		{"-alice -kind=system", `-"alice" -kind=system`, []uint64{3}},
		{`secrets\ were or "and"`, `"secrets were" or "and"`, []uint64{2, 5}},
		{"since=today", "time=2026-11-21T00:00:00Z..", []uint64{1, 2, 4, 5}},
		{"at=yesterday", "time=2026-11-20T00:00:00Z..2026-11-21T00:00:00Z", []uint64{3}},
		{"until=2026-11-20", "time=..2026-11-21T00:00:00Z", []uint64{3}},
		{"since=1d until=1h", "time=2026-11-20T12:00:00Z.. time=..2026-11-21T11:00:00Z", []uint64{2, 3}},
		{"since=1d12h until=now", "time=2026-11-20T00:00:00Z.. time=..2026-11-21T12:00:00Z", []uint64{1, 2, 3, 4, 5}},
		{"at=2026-11-21T10:00..11:00", "time=2026-11-21T10:00:00Z..2026-11-21T11:00:00Z", []uint64{2}},
		{"at=2026-11-21T11:00:00+01:00..12:00", "time=2026-11-21T10:00:00Z..2026-11-21T11:00:00Z", []uint64{2}},
		{"at=2026-11-21T10:30", "time=2026-11-21T10:30:00Z..2026-11-21T10:31:00Z", []uint64{2}},
		{`at="2026-11-21 10:30:00.5"`, "time=2026-11-21T10:30:00.5Z..2026-11-21T10:30:00.500001Z", nil},
		{"at=2h..1h", "time=2026-11-21T10:00:00Z..2026-11-21T11:00:00Z", []uint64{2}},
		{"time>2026-11-20", "time=2026-11-21T00:00:00Z..", []uint64{1, 2, 4, 5}},
		{"time<=2026-11-20", "time=..2026-11-21T00:00:00Z", []uint64{3}},
		{"time!=2026-11-21", "-time=2026-11-21T00:00:00Z..2026-11-22T00:00:00Z", []uint64{3}},
		{"stageTimestamp=*", "", []uint64{1, 2, 3}},
		{`stageTimestamp=""`, "-stageTimestamp=*", []uint64{4, 5}},
		{"received>=10m", "received=2026-11-21T11:50:00Z..", []uint64{4, 5}},
		{"user=alice | count by user, verb", "user=alice | count by user,verb", []uint64{1, 2, 5}},
		{"|TOP 10 by ip", "| top 10 by ip", []uint64{1, 2, 3, 4, 5}},
		{"kind=api | timeline 60m", "kind=api | timeline 1h", []uint64{1, 2, 3}},
		{"| first by user", "", []uint64{1, 2, 3, 4, 5}},
	} {
		q := mustParse(t, tt.query)
		form := tt.form
		if form == "" {
			form = tt.query
		}
		if got := q.String(); got != form {
			t.Errorf("%s: reads as %s, want %s", tt.query, got, form)
		}
		if again := mustParse(t, q.String()).String(); again != q.String() {
			t.Errorf("%s: read again it is %s", q, again)
		}
		var finds []uint64
		m := q.Matcher()
		for _, e := range searchtest.People() {
			if m.Match(e) {
				finds = append(finds, e.Seq)
			}
		}
		if diff := cmp.Diff(tt.finds, finds); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.query, diff)
		}
	}
}

// Times without a zone are of the place that was asked for.
func TestZone(t *testing.T) {
	q, err := Parse("at=2026-11-21 received>=2026-11-21T10:00 stageTimestamp<2026-11-21T10:00Z", Env{Now: searchtest.Noon(), Location: time.FixedZone("", 2*60*60)})
	if err != nil {
		t.Fatal(err)
	}
	want := "time=2026-11-20T22:00:00Z..2026-11-21T22:00:00Z received=2026-11-21T08:00:00Z.. stageTimestamp=..2026-11-21T10:00:00Z"
	if q.String() != want {
		t.Errorf("got %s", q)
	}
}

// Queries that cannot be read: where, and some words of what is said.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		query string
		at    int
		says  string
	}{
		{"usr=alice", 0, `no field is called "usr"; did you mean user`},
		{"verb=get nane=x", 9, "did you mean name"},
		{"username=alice", 0, "did you mean user or user.username or actor.username"},
		{"requestobject.spec=1", 0, "did you mean requestObject."},
		{"User=alice", 0, "did you mean user"},
		{"zzzzzzzzz=1", 0, "quote it to look for the text"},
		{"user=", 5, `expected a value right after "="`},
		{"user= alice", 5, `"" is for what is absent`},
		{"user = alice", 5, "without spaces"},
		{"=alice", 0, "expected a field's name"},
		{"user>5", 0, "has no order"},
		{"code=abc", 5, "code is a number"},
		{"code=1..x", 5, "no range of numbers"},
		{"code=499..400", 5, "ends at 400, before it begins at 499"},
		{"code>4*", 5, "an order is of numbers"},
		{"code~=200", 0, "has no letters"},
		{"code>(1,2)", 5, "a list stands after"},
		{"ip=10.0.0.0/33", 3, "no network"},
		{"ip=localhost", 3, "no address"},
		{"severity>=awful", 10, "no severity"},
		{"severity=awful", 9, "no severity"},
		{"verb=(get", 9, `expected "," or ")"`},
		{"verb=()", 6, "expected a value of the list"},
		{"verb=(get,)", 10, "expected a value of the list"},
		{"(user=a", 7, `expected ")" for the "(" of character 1`},
		{"user=a)", 6, "closes nothing"},
		{"()", 0, "nothing stands between"},
		{"or user=a", 0, "quote it to look for the word"},
		{"user=a or", 9, "the end of the query"},
		{"user=a and", 10, "the end of the query"},
		{"- user=a", 0, "right before what it excludes"},
		{`"alice`, 0, "not closed"},
		{`user="a\q"`, 7, "a backslash stands before"},
		{`user="\ud800"`, 6, "four hexadecimal digits"},
		{`user=a\`, 6, "after the backslash"},
		{`""`, 0, "every event has an empty text"},
		{"agent=(x) y (", 13, "the end of the query"},
		{"agent=kubectl(linux", 13, "quote a value"},
		{"since=soon", 6, `"soon" is no time`},
		{"since=99999999w", 6, "is no time"},
		{"since=0001-01-01", 6, "out of range"},
		{"since!=2h", 0, "write since=…"},
		{"at=2h", 3, "write since=2h, or a range"},
		{"at=2026-11-21T11:00..10:00", 3, "before it begins"},
		{"at=..", 3, "a range needs a time"},
		{"time~=2h", 4, "has no letters"},
		{"user=a | sort", 9, "expected count"},
		{"user=a |", 8, "expected count"},
		{"| count user", 8, "expected by"},
		{"| count by", 10, "expected a field to group by"},
		{"| count by usr", 11, "did you mean user"},
		{"| count by user,user", 16, "stands twice"},
		{"| count by time", 11, "timeline"},
		{"| top x by ip", 6, "how many after top"},
		{"| timeline", 10, "a step after timeline"},
		{"| timeline 10", 11, "a step after timeline"},
		{"| count by user extra", 16, "expected the end"},
		{"user=a | count | count", 15, "expected the end"},
		{strings.Repeat("(", 200) + "a", 100, "within each other"},
		{strings.Repeat("a ", 9000), maxQuery, "may have"},
		{"user=\xff", 5, "no UTF-8"},
	} {
		_, err := Parse(tt.query, env())
		var problem *Error
		if !errors.As(err, &problem) {
			t.Errorf("%.40s: no mistake was seen, %v", tt.query, err)
			continue
		}
		if problem.At != tt.at || !strings.Contains(problem.Problem, tt.says) {
			t.Errorf("%.40s: at %d: %s; want at %d: %s", tt.query, problem.At, problem.Problem, tt.at, tt.says)
		}
		if strings.ContainsFunc(strings.ReplaceAll(problem.Caret(), "\n", ""), plain.Hidden) {
			t.Errorf("%.40s: the caret shows %q", tt.query, problem.Caret())
		}
	}
	if _, err := Parse("a", Env{}); err == nil {
		t.Error("a reader without a clock reads")
	}
}

func TestCaret(t *testing.T) {
	for _, tt := range []struct {
		err  Error
		want string
	}{
		{Error{Query: "user=alice nane=x", At: 11}, "user=alice nane=x\n           ^"},
		{Error{Query: "名=\x1b[31m usr=x", At: 10}, "名=\\x1b[31m usr=x\n            ^"},
		{Error{Query: strings.Repeat("a", 100) + "!" + strings.Repeat("b", 100), At: 100}, "…" + strings.Repeat("a", 60) + "!" + strings.Repeat("b", 59) + "…\n" + strings.Repeat(" ", 61) + "^"},
		{Error{Query: "", At: 0}, "\n^"},
	} {
		if got := tt.err.Caret(); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
	if got := (&Error{Query: "名=x", At: 3, Problem: "no"}).Error(); got != "query, character 2: no" {
		t.Error(got)
	}
}

// A query that was written reads as the same query.
func TestQueriesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := searchtest.RandomQuery(t, 4)
		q, err := Parse(text, env())
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(q.String(), Env{Now: searchtest.Noon().Add(time.Hour)})
		if err != nil {
			t.Fatalf("%s, written as %s: %v", text, q, err)
		}
		if again.String() != q.String() {
			t.Fatalf("%s, written as %s, reads as %s", text, q, again)
		}
		e := searchtest.RandomEvent(t, "e.")
		e.Seq = 3
		if q.Match(e) != again.Match(e) {
			t.Fatalf("%s and %s differ on an event", q, again)
		}
	})
}

// Whatever an event says is found by saying it, in any case.
func TestFreeTextFindsAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		said := rapid.OneOf(rapid.StringN(1, 12, -1), rapid.StringMatching(`[\x00-\x7f\x{80}-\x{a0}\x{2028}<>&İK]{1,8}`)).Draw(t, "text")
		e := &audit.Event{Seq: 1, Kind: audit.KindAPI, UserAgent: said}
		for _, text := range []string{said, strings.ToLower(said)} {
			var b strings.Builder
			quote(&b, text)
			q, err := Parse(b.String(), env())
			if err != nil {
				t.Fatal(err)
			}
			if !q.Match(e) {
				t.Fatalf("%s does not find %q", q, said)
			}
			if q, err = Parse("agent~="+b.String(), env()); err != nil || !q.Match(e) {
				t.Fatalf("%s does not find %q: %v", q, said, err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"user=alice verb=get resource=secrets since=2h", `(a or "b\u0041*") -x!=(1,"2..3",*) | top 3 by ip,ns`, "at=2026-11-21T10:00..11:00",
		"ip=::ffff:10.0.0.0/104 code=4?? requestObject.a=1..2e3 | timeline 1d", "user~=*?*a..b time<=1w2d not -or", `-(-(uri=a\*b))`, "=", "ns=..", "code=-0..+0.5",
	} {
		f.Add(seed)
	}
	events := searchtest.People()
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text, env())
		if err != nil {
			var problem *Error
			if !errors.As(err, &problem) {
				t.Fatalf("%q: %v", text, err)
			}
			_ = problem.Caret()
			return
		}
		if len(q.String()) > maxQuery {
			return // escapes made it longer than a query may be
		}
		again, err := Parse(q.String(), env())
		if err != nil {
			t.Fatalf("%.300q, written as %.300q: %v", text, q, err)
		}
		if again.String() != q.String() {
			t.Fatalf("%.300q, written as %.300q, reads as %.300q", text, q, again)
		}
		for _, e := range events {
			if q.Match(e) != again.Match(e) {
				t.Fatalf("%q and %q differ on event %d", q, again, e.Seq)
			}
		}
	})
}

// FuzzMatch asks queries of whatever an event may hold.
func FuzzMatch(f *testing.F) {
	f.Add("alice", "10.0.0.1", `{"a":{"b":[1,"x",null]}}`, int32(200), int64(0), "alice")
	f.Add("\x1b[31m\xff", "::", `{`, int32(-1), int64(-1<<62), "a*?b")
	var queries []*Query
	for _, text := range []string{
		"user=a* or agent~=*A?*", "ip=10.0.0.0/8 or ip=1*", "requestObject.a.b>1", "requestObject.a=*", "code>=0", "since=2h", "-severity>low", "resource=a/b",
	} {
		q, err := Parse(text, env())
		if err != nil {
			f.Fatal(err)
		}
		queries = append(queries, q)
	}
	f.Fuzz(func(t *testing.T, text, ip, body string, code int32, at int64, want string) {
		e := &audit.Event{
			Kind: audit.KindAPI, User: audit.User{Username: text}, UserAgent: text, SourceIPs: []string{ip, text}, RequestObject: []byte(body),
			More: []byte(body), Status: audit.Status{Code: code}, StageAt: time.UnixMicro(at), Object: audit.ObjectRef{Resource: text, Subresource: ip, APIGroup: body},
		}
		for _, q := range queries {
			q.Match(e)
		}
		// Quoted, whatever a field has is found in it.
		var b strings.Builder
		quote(&b, strings.ToValidUTF8(want, "?"))
		q, err := Parse("user="+b.String(), env())
		if err != nil {
			if len(want) < maxQuery/8 {
				t.Fatalf("%q: %v", b.String(), err)
			}
			return
		}
		want = strings.ToValidUTF8(want, "?")
		e.User.Username = want
		if !q.Match(e) {
			t.Fatalf("%s does not find %q", q, want)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	events := searchtest.People()
	for _, text := range []string{"user=alice verb=get resource=secrets since=2h", "ip=10.0.0.0/8 code>=400", "forbidden", "requestObject.spec.containers.image=cart*"} {
		b.Run(strings.Fields(text)[0], func(b *testing.B) {
			m := mustParse(b, text).Matcher()
			for i := 0; b.Loop(); i++ {
				m.Match(events[i%len(events)])
			}
		})
	}
}
