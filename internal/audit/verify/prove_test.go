package verify_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
	"bulwark.dev/bulwark/internal/audit/verify"
)

func TestProve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", nil)
	w.seal(300)
	w.seal(600)
	w.append(2)
	w.close()
	key := w.ledger.Verifier()
	for _, seq := range []uint64{1, 256, 257, 300, 301, 556, 557, 900} {
		p, err := verify.Prove(t.Context(), dir, seq, vault.Keys{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := verify.ParseProof(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
		if err := verify.CheckProof(again, key); err != nil {
			t.Error(err)
		}
		if e, err := audit.ParseCanonical([]byte(p.Event)); err != nil || e.AuditID != someEvent(int(seq), "").AuditID {
			t.Errorf("event %d is %s, %v", seq, p.Event, err)
		}
	}
	if _, err := verify.Prove(t.Context(), dir, 901, vault.Keys{}); !errors.Is(err, verify.ErrNotSealed) {
		t.Errorf("an event that is not sealed: %v", err)
	}
	if _, err := verify.Prove(t.Context(), dir, 0, vault.Keys{}); err == nil {
		t.Error("event 0 was proven")
	}

	path := sealedPath(dir, 301, 900)
	rewrite(t, path, 301, func(rows []segment.Row) []segment.Row {
		rows[0].Event, rows[0].Pruned = nil, true
		return rows
	})
	p, err := verify.Prove(t.Context(), dir, 301, vault.Keys{})
	if err != nil || p.Event != "" || p.Leaf == nil {
		t.Errorf("a pruned event: %+v, %v", p, err)
	}
	if _, err := verify.Prove(t.Context(), dir, 302, vault.Keys{}); err != nil {
		t.Errorf("an event beside a pruned one: %v", err)
	}
	rewrite(t, path, 301, changeAt(1))
	if p, err := verify.Prove(t.Context(), dir, 302, vault.Keys{}); err == nil {
		t.Errorf("a changed event was proven: %+v", p)
	}
}

func TestCheckProofRefuses(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	w := openWriter(t, dir, "", nil)
	w.seal(300)
	w.seal(5)
	w.close()
	key := w.ledger.Verifier()
	o := openWriter(t, other, "", nil)
	o.seal(300)
	o.close()
	good, err := verify.Prove(t.Context(), dir, 7, vault.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := verify.Prove(t.Context(), dir, 301, vault.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := verify.Prove(t.Context(), other, 7, vault.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.CheckProof(good, o.ledger.Verifier()); err == nil {
		t.Error("taken with another log's key")
	}
	if err := verify.CheckProof(good, "no key"); err == nil {
		t.Error("taken with no key")
	}
	leaf := verify.Hash(proof.LeafHash([]byte(good.Event)))
	for name, change := range map[string]func(p *verify.Proof){
		"another event":        func(p *verify.Proof) { p.Event = second.Event },
		"an edited event":      func(p *verify.Proof) { p.Event = strings.Replace(p.Event, "user-2", "user-3", 1) },
		"a loose event":        func(p *verify.Proof) { p.Event += " " },
		"no event":             func(p *verify.Proof) { p.Event = "" },
		"event and leaf":       func(p *verify.Proof) { p.Leaf = &leaf },
		"another number":       func(p *verify.Proof) { p.Seq++ },
		"a number outside":     func(p *verify.Proof) { p.Seq = 301 },
		"a shorter path":       func(p *verify.Proof) { p.Path = p.Path[1:] },
		"another path":         func(p *verify.Proof) { p.Path = append([]verify.Hash{{1}}, p.Path[1:]...) },
		"another record":       func(p *verify.Proof) { p.Record, p.RecordPath = second.Record, second.RecordPath },
		"an edited record":     func(p *verify.Proof) { p.Record = strings.Replace(p.Record, "last 300", "last 299", 1) },
		"another record path":  func(p *verify.Proof) { p.RecordPath = second.RecordPath },
		"another checkpoint":   func(p *verify.Proof) { p.Checkpoint = theirs.Checkpoint },
		"an edited checkpoint": func(p *verify.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n2\n", "\n3\n", 1) },
		"another format":       func(p *verify.Proof) { p.Format = "x" },
	} {
		p := good
		change(&p)
		if err := verify.CheckProof(p, key); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// The leaf hash alone shows that an event was there.
	p := good
	p.Event, p.Leaf = "", &leaf
	if err := verify.CheckProof(p, key); err != nil {
		t.Error(err)
	}
	for name, raw := range map[string]string{
		"nothing":        "",
		"another format": `{"format":"x"}`,
		"something else": `{"format":"` + verify.ProofFormat + `","more":1}`,
		"two":            `{"format":"` + verify.ProofFormat + `"}{}`,
		"no hash":        `{"format":"` + verify.ProofFormat + `","path":["AAAA"]}`,
	} {
		if p, err := verify.ParseProof([]byte(raw)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte(`{"format":"` + verify.ProofFormat + `","seq":1,"event":"{}","path":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"record":"","recordPath":[],"checkpoint":""}`))
	f.Add([]byte(`{"format":"` + verify.ProofFormat + `","leaf":null}`))
	key := "log+6b9a4d0f+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := verify.ParseProof(raw)
		if err != nil {
			return
		}
		if verify.CheckProof(p, key) == nil {
			t.Errorf("%q proves something", raw)
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify.ParseProof(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// BenchmarkVerify reads a whole sealed log, on all processors.
func BenchmarkVerify(b *testing.B) {
	const segments, each = 4, 50_000
	dir := b.TempDir()
	w := openBenchWriter(b, dir)
	entries := make([]audit.Entry, 1000)
	for n := range segments * each / len(entries) {
		for i := range entries {
			entries[i] = audit.Entry{Event: someEvent(n*len(entries)+i, "")}
		}
		if _, err := w.log.Append(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
		if (n+1)*len(entries)%each == 0 {
			if err := w.log.Seal(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := w.log.Close(); err != nil {
		b.Fatal(err)
	}
	if err := w.ledger.Close(); err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "log/sealed/*.parquet"))
	if err != nil || len(files) != segments {
		b.Fatal(files, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := verify.Verify(b.Context(), verify.Options{Dir: dir, Key: w.ledger.Verifier()})
		if err != nil || !r.OK() || r.Events != segments*each {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.ReportMetric(float64(b.N*segments*each)/b.Elapsed().Seconds(), "events/s")
}
