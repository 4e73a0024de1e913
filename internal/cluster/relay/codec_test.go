package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// TestEveryKindTravels: a kind that a Snapshot can hold and data planes are not
// told of could be what restricts another.
func TestEveryKindTravels(t *testing.T) {
	var want []string
	for _, k := range cluster.Kinds() {
		id := k.Group + "/" + k.Versions[0] + "/" + k.Name
		want = append(want, strings.TrimPrefix(id, "/"))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, kindIDs()); diff != "" || len(want) < 14 {
		t.Errorf("kinds (-Snapshot +relay):\n%s", diff)
	}
}

// TestExamplesTravel: every object of the examples arrives as it was, but for
// what is left out on purpose.
func TestExamplesTravel(t *testing.T) {
	root := filepath.Join("..", "..", "..", "examples")
	var paths []string
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			paths = append(paths, filepath.Join(root, e.Name()))
		}
	}
	ran := 0
	for _, path := range paths {
		snap, err := cluster.LoadFiles([]string{path})
		if err != nil {
			t.Logf("%s holds no objects", path)
			continue
		}
		s := new(encoder).state(nil, snap, everything)
		s.revision = 1
		var m mirror
		m.connect()
		if err := feed(&m, goodHello()+deltaOf(t, nil, s)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got := m.snapshot()
		if got.Len() != snap.Len() {
			t.Errorf("%s: %d objects of %d", path, got.Len(), snap.Len())
		}
		byRef := map[string]cluster.Object{}
		for o := range got.All() {
			byRef[keyOf(kindOf(o), o)] = o
		}
		for o := range snap.All() {
			k := kindOf(o)
			bare, _ := k.bare(o)
			if diff := cmp.Diff(bare, byRef[keyOf(k, o)]); diff != "" {
				t.Errorf("%s: %s (-sent +received):\n%s", path, keyOf(k, o), diff)
			}
			ran++
		}
	}
	if ran < 20 {
		t.Errorf("only %d objects travelled", ran)
	}
}

// feed gives text to a mirror, line by line.
func feed(m *mirror, text string) error {
	lines := newLineReader(strings.NewReader(text), MaxFrame)
	for {
		verb, body, err := lines.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err // io.ErrUnexpectedEOF for half a line
		}
		if _, err := m.take(verb, body); err != nil {
			return err
		}
	}
}

// TestEncodesOnce: a change of one object costs one encoding, whoever made the
// snapshot and however many data planes there are.
func TestEncodesOnce(t *testing.T) {
	var e encoder
	all := routes(500)
	s := e.state(nil, snapshot(t, all...), everything)
	if e.encodes != 500 {
		t.Errorf("%d encodings of 500 objects", e.encodes)
	}
	changed := route("shop", "route-00007", "/other")
	all[7] = changed
	next := e.state(s, snapshot(t, all...), everything)
	if e.encodes != 501 {
		t.Errorf("%d encodings for one change", e.encodes-500)
	}
	if n := strings.Count(deltaOf(t, s, next), "\n"); n != 2 {
		t.Errorf("the change has %d lines, want an object and a commit", n)
	}
	e.state(next, snapshot(t, all[1:]...), everything)
	if e.encodes != 501 || len(e.met) != 499 {
		t.Errorf("%d encodings after a deletion, %d objects known", e.encodes, len(e.met))
	}
}

// TestSecretStaysOutOfErrors: what cannot be decoded is named, not shown.
func TestSecretStaysOutOfErrors(t *testing.T) {
	k := kindByID("v1/Secret")
	for _, text := range []string{
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","namespace":"y"},"data":{"k":12345678}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","namespace":"y"},"hunter2":1}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","namespace":"y"},"type":12345678}`,
	} {
		_, err := k.decode([]byte(text))
		if err == nil || strings.Contains(err.Error(), "12345678") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
	s := secret("x", "y")
	s.Annotations = map[string]string{lastApplied: `{"data":{"k":"hunter2"}}`, "keep": "1"}
	b, err := k.encode(s)
	if err != nil || bytes.Contains(b, []byte("hunter2")) || !bytes.Contains(b, []byte(`"keep"`)) {
		t.Errorf("%s %v", b, err)
	}
	if s.Annotations[lastApplied] == "" || s.ResourceVersion == "" {
		t.Error("encoding changed the object")
	}
}

// TestTooLargeIsUnreadable: what does not fit makes its kind unknown, in full.
func TestTooLargeIsUnreadable(t *testing.T) {
	big := &corev1.ConfigMap{ObjectMeta: meta("shop", "big"), Data: map[string]string{"k": strings.Repeat("\x01", MaxFrame/6+1)}}
	small := &corev1.ConfigMap{ObjectMeta: meta("shop", "small")}
	s := new(encoder).state(nil, snapshot(t, big, small, route("shop", "a", "/a")), everything)
	if len(s.entries) != 1 || !strings.Contains(string(s.unreadable), "shop/big is too large") {
		t.Errorf("%d entries, unreadable %s", len(s.entries), s.unreadable)
	}
	s.revision = 1
	var m mirror
	m.connect()
	if err := feed(&m, goodHello()+deltaOf(t, nil, s)); err != nil {
		t.Fatal(err)
	}
	if u := m.snapshot().Unreadable; len(u) != 1 || u[0].Kind != "ConfigMap" {
		t.Errorf("unreadable: %v", u)
	}
}

// TestAnyTwoStates: whatever two states hold, the change between them leads from
// one to the other, and the digest does not depend on the way.
func TestAnyTwoStates(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() []cluster.Object {
		var out []cluster.Object
		for _, ns := range []string{"a", "a-b", "a.b", "b"} {
			for _, name := range []string{"x", "x-y", "x.y", "z"} {
				switch random.IntN(4) {
				case 0:
					out = append(out, route(ns, name, "/1"))
				case 1:
					out = append(out, route(ns, name, "/2"))
				case 2:
					s := secret(name, ns)
					s.Namespace = ns
					out = append(out, s, &corev1.Namespace{ObjectMeta: meta("", ns+name)})
				}
			}
		}
		random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	var e encoder
	var m mirror
	m.connect()
	var old *state
	if err := feed(&m, goodHello()); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		objs := pick()
		var unreadable []cluster.Unreadable
		if random.IntN(5) == 0 {
			unreadable = []cluster.Unreadable{{Kind: "Secret", Reason: "no permission"}}
			objs = slices.DeleteFunc(objs, func(o cluster.Object) bool { _, ok := o.(*corev1.Secret); return ok })
		}
		want := snapshotWithout(t, unreadable, objs...)
		next := e.state(old, want, everything)
		next.revision = uint64(i + 1)
		from := old
		if random.IntN(10) == 0 {
			from = nil // as for a new connection
		}
		if err := feed(&m, deltaOf(t, from, next)); err != nil {
			t.Fatal(err)
		}
		got := m.snapshot()
		if got.Len() != want.Len() || len(got.Unreadable) != len(want.Unreadable) {
			t.Fatalf("round %d: %d objects, want %d", i, got.Len(), want.Len())
		}
		for o := range want.All() {
			k := kindOf(o)
			bare, _ := k.bare(o)
			if diff := cmp.Diff(bare, m.find(keyOf(k, o)).obj); diff != "" {
				t.Fatal(diff)
			}
		}
		old = next
	}
}

// FuzzMirror: no text makes a mirror fail, or take over what was not committed.
func FuzzMirror(f *testing.F) {
	a, b := route("shop", "a", "/a"), secret("s", "x")
	one, two := stateOf(f, 1, a), stateOf(f, 2, a, b)
	f.Add(deltaOf(f, nil, one) + deltaOf(f, one, two))
	f.Add(deltaOf(f, nil, two) + verbPing + "\n" + verbBye + ` {"reason":"x"}` + "\n")
	f.Add(verbReset + "\n" + verbUnreadable + ` [{"Kind":"Secret","Reason":"no"}]` + "\n")
	f.Add(verbSet + " v1/Secret {}\n" + verbDel + " v1/Secret shop s\n")
	f.Fuzz(func(t *testing.T, text string) {
		var m mirror
		m.connect()
		if err := feed(&m, goodHello()); err != nil {
			t.Fatal(err)
		}
		lines := newLineReader(strings.NewReader(text), 1<<16)
		for {
			verb, body, err := lines.next()
			if err != nil {
				break
			}
			digest := m.digest
			committed, err := m.take(verb, body)
			if err != nil {
				if m.digest != digest {
					t.Fatal("an error changed what is in force")
				}
				break
			}
			if committed {
				if got := digestOf(m.entries, m.unreadable); got != m.digest {
					t.Fatalf("digest %s, want %s", got, m.digest)
				}
				if n := m.snapshot().Len(); n != len(m.entries) {
					t.Fatalf("%d objects, want %d", n, len(m.entries))
				}
			}
		}
	})
}

func BenchmarkPublish5000(b *testing.B) {
	all := routes(5000)
	first := snapshot(b, all...)
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			var e encoder
			s := e.state(nil, first, everything)
			b.ReportMetric(float64(e.encodes), "encodes/op")
			size := 0
			for _, n := range s.entries {
				size += len(n.frame)
			}
			b.ReportMetric(float64(size), "bytes")
		}
	})
	b.Run("one", func(b *testing.B) {
		var e encoder
		s := e.state(nil, first, everything)
		e.encodes = 0
		store := cluster.NewStore()
		for _, k := range cluster.Kinds() {
			var objs []cluster.Object
			if k.Name == "HTTPRoute" {
				objs = all
			}
			if err := store.Replace(k.Name, objs); err != nil {
				b.Fatal(err)
			}
		}
		n := 0
		for b.Loop() {
			n++
			changed := route("shop", "route-00007", "/"+time.Duration(n).String())
			if err := store.Put(changed); err != nil {
				b.Fatal(err)
			}
			s = e.state(s, store.Snapshot(), everything)
		}
		b.ReportMetric(float64(e.encodes)/float64(n), "encodes/op")
	})
}

func BenchmarkReceive5000(b *testing.B) {
	all := routes(5000)
	s := stateOf(b, 1, all...)
	all[7] = route("shop", "route-00007", "/other")
	next := stateOf(b, 2, all...)
	full, delta := deltaOf(b, nil, s), ""
	b.Run("full", func(b *testing.B) {
		b.SetBytes(int64(len(full)))
		for b.Loop() {
			var m mirror
			m.connect()
			if err := feed(&m, goodHello()+full); err != nil {
				b.Fatal(err)
			}
			m.snapshot()
		}
	})
	b.Run("one", func(b *testing.B) {
		var e encoder
		s := e.state(nil, snapshot(b, all...), everything)
		all[7] = route("shop", "route-00007", "/another")
		next = e.state(s, snapshot(b, all...), everything)
		delta = deltaOf(b, s, next)
		back := deltaOf(b, next, s)
		var m mirror
		m.connect()
		s.revision = 1
		if err := feed(&m, goodHello()+deltaOf(b, nil, s)); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			m.revision = 0
			delta, back = strings.Replace(delta, `"revision":0`, `"revision":1`, 1), strings.Replace(back, `"revision":0`, `"revision":2`, 1)
			if err := feed(&m, delta+back); err != nil {
				b.Fatal(err)
			}
			m.snapshot()
		}
	})
	b.Run("again", func(b *testing.B) {
		var m mirror
		m.connect()
		if err := feed(&m, goodHello()+full); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			m.connect()
			if err := feed(&m, goodHello()+full); err != nil {
				b.Fatal(err)
			}
			m.snapshot()
		}
	})
}
