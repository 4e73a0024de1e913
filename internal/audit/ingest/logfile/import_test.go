package logfile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/ingesttest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
)

// event is one line of an audit log.
func event(id string) string {
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"` + id + `","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{"username":"ann"}}`
}

func importing(sink ingest.Sink) ImportConfig {
	return ImportConfig{Sink: sink, Decode: ingesttest.Decoder("test").Decode, Source: "import", Now: time.Now}
}

func packGzip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func packZstd(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

func TestImport(t *testing.T) {
	t.Parallel()
	pretty := func(text string) string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	three := event("a") + "\n" + event("b") + "\n" + event("c") + "\n"
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint(i))
	}
	for name, c := range map[string]struct {
		input  string
		want   []string // ids; a text with a space is part of what an event says
		counts Counts
	}{
		"lines":               {three, []string{"a", "b", "c"}, Counts{Lines: 3}},
		"no last end":         {strings.TrimSuffix(three, "\n"), []string{"a", "b", "c"}, Counts{Lines: 3}},
		"carriage returns":    {strings.ReplaceAll(three, "\n", "\r\n"), []string{"a", "b", "c"}, Counts{Lines: 3}},
		"empty lines":         {"\n \n" + strings.ReplaceAll(three, "\n", "\n\n"), []string{"a", "b", "c"}, Counts{Lines: 3}},
		"byte order mark":     {"\uFEFF" + three, []string{"a", "b", "c"}, Counts{Lines: 3}},
		"nothing":             {"", nil, Counts{}},
		"spaces":              {" \n\n ", nil, Counts{}},
		"a list":              {pretty(ingesttest.List("a", "b")), []string{"a", "b"}, Counts{Lines: 2}},
		"a list in a line":    {ingesttest.List("a", "b"), []string{"a", "b"}, Counts{Lines: 1}},
		"lists in lines":      {ingesttest.List("a", "b") + "\n" + ingesttest.List("c") + "\n", []string{"a", "b", "c"}, Counts{Lines: 2}},
		"a long list":         {ingesttest.List(many...), many, Counts{Lines: 1000}},
		"a long list, pretty": {pretty(ingesttest.List(many...)), many, Counts{Lines: 1000}},
		"long lists in lines": {ingesttest.List(many...) + "\n" + ingesttest.List("x") + "\n" + ingesttest.List(), append(many[:1000:1000], "x"), Counts{Lines: 1001}},
		"an array":            {"[" + event("a") + ",\n" + event("b") + "]", []string{"a", "b"}, Counts{Lines: 2}},
		"an array in lines":   {"[\n" + event("a") + "\n,\n" + event("b") + "\n]\n", []string{"a", "b"}, Counts{Lines: 2}},
		"events, pretty":      {pretty(event("a")) + "\n" + pretty(event("b")), []string{"a", "b"}, Counts{Lines: 2}},
		"items before kind":   {"{\"items\":[\n" + event("a") + "],\"kind\":\"EventList\"}", []string{"a"}, Counts{Lines: 1}},
		"a bad line":          {event("a") + "\nnope\n" + event("b") + "\n", []string{"a", "in: a line of 5 bytes at byte 176 is no JSON", "b"}, Counts{Lines: 3, Unreadable: 1}},
		"a klog line first":   {"I1121 12:00:00 x\n" + three, []string{"in: a line of 17 bytes at byte 0 is no JSON", "a", "b", "c"}, Counts{Lines: 4, Unreadable: 1}},
		"another object":      {`{"a":1}` + "\n" + event("b") + "\n", []string{"no known form", "b"}, Counts{Lines: 2, Unreadable: 1}},
		"cut first line":      {event("a")[:90] + "\n" + three, []string{"in: what stands after byte", "a", "b", "c"}, Counts{Lines: 4, Unreadable: 1}},
		"cut last line":       {three + event("d")[:90], []string{"a", "b", "c", "in: the last line, 90 bytes at byte 528, is not whole"}, Counts{Lines: 4, Unreadable: 1, Truncated: "the last line, 90 bytes at byte 528, is not whole"}},
		"cut list":            {pretty(ingesttest.List("a", "b", "c"))[:700], []string{"a", "b", "in: the document is not whole: it ends after byte"}, Counts{Lines: 2, Unreadable: 1, Truncated: "the document is not whole: it ends after byte"}},
		"cut list in a line":  {ingesttest.List("a", "b", "c")[:430], []string{"a", "b", "in: the document is not whole"}, Counts{Lines: 2, Unreadable: 1, Truncated: "the document is not whole"}},
		"bad list":            {"[" + event("a") + ",\n" + event("b") + ", nope]\n" + event("c") + "\n", []string{"a", "b", "in: what stands after byte", "c"}, Counts{Lines: 4, Unreadable: 1}},
		"long line":           {event("a") + "\n" + event(strings.Repeat("x", 100<<10)) + "\n" + event("b") + "\n", []string{"a", "is longer than 100000", "b"}, Counts{Lines: 3, Unreadable: 1, Long: 1}},
		"long element":        {"[" + event("a") + ",\n" + event(strings.Repeat("x", 200<<10)) + "]\n" + event("b") + "\n", []string{"a", "is longer than 100000", "b"}, Counts{Lines: 3, Unreadable: 1, Long: 1}},
		"gzip":                {packGzip(t, three), []string{"a", "b", "c"}, Counts{Lines: 3}},
		"gzip twice":          {packGzip(t, three) + packGzip(t, event("d")), []string{"a", "b", "c", "d"}, Counts{Lines: 4}},
		"gzip of a list":      {packGzip(t, pretty(ingesttest.List("a", "b"))), []string{"a", "b"}, Counts{Lines: 2}},
		"zstd":                {packZstd(t, three), []string{"a", "b", "c"}, Counts{Lines: 3}},
		"bad gzip":            {"\x1f\x8bxxxxxxxx", []string{"in: reading stopped at byte 0"}, Counts{Unreadable: 1, Truncated: "reading stopped at byte 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(c.input), "in bytes": iotest.OneByteReader(strings.NewReader(c.input))} {
				if how == "in bytes" && len(c.input) > 1<<20 {
					continue
				}
				sink := &ingesttest.Sink{}
				cfg := importing(sink)
				cfg.MaxLine = 100000
				got, err := Import(t.Context(), cfg, r, "in")
				if err != nil {
					t.Fatal(err)
				}
				ids := sink.IDs()
				for i, want := range c.want {
					if i < len(ids) && strings.Contains(want, " ") && strings.Contains(ids[i], want) {
						ids[i] = want
					}
				}
				if diff := cmp.Diff(c.want, ids); diff != "" {
					t.Errorf("%s: %s", how, diff)
				}
				want := c.counts
				want.Bytes, want.Events = int64(len(c.input)), int64(len(c.want))
				if len(c.want) > 0 {
					want.First, want.Last = 1, uint64(len(c.want))
				}
				if want.Truncated != "" && strings.HasPrefix(got.Truncated, want.Truncated) {
					got.Truncated = want.Truncated
				}
				if name == "bad gzip" {
					got.Bytes = want.Bytes
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", how, diff)
				}
			}
		})
	}
}

// A compressed file that was cut gives what is whole in it, and says so.
func TestImportCutGzip(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		lines.WriteString(event(fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())) + "\n")
	}
	text := packGzip(t, lines.String())
	sink := &ingesttest.Sink{}
	got, err := Import(t.Context(), importing(sink), strings.NewReader(text[:len(text)/2]), "in")
	if err != nil || !strings.HasPrefix(got.Truncated, "reading stopped at byte") || got.Unreadable != 1 || got.Events < 500 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestImportBatches(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 25 {
		text.WriteString(event(fmt.Sprint(i)) + "\n")
	}
	sink := &ingesttest.Sink{}
	cfg := importing(sink)
	cfg.Batch = 10
	var progress []int64
	cfg.Progress = func(c Counts) { progress = append(progress, c.Events) }
	got, err := Import(t.Context(), cfg, strings.NewReader(text.String()), "in")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{10, 20, 25}, progress); diff != "" || sink.Calls() != 3 || got.Last != 25 {
		t.Error(diff, sink.Calls(), got)
	}
	// What the sink does not take ends the import, and the counts say how far it came.
	for _, input := range []string{text.String(), "[" + strings.Join(strings.Split(strings.TrimSpace(text.String()), "\n"), ",\n") + "]"} {
		sink = &ingesttest.Sink{}
		sink.Before = func(context.Context, []audit.Entry) error {
			if sink.Calls() == 1 {
				return errors.New("disk full")
			}
			return nil
		}
		cfg.Sink = sink
		cfg.Batch = 10
		got, err = Import(t.Context(), cfg, strings.NewReader(input), "in")
		if err == nil || !strings.Contains(err.Error(), "disk full") || got.Events != int64(len(sink.Events())) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	// So does an input that fails.
	bad := io.MultiReader(strings.NewReader(event("a")+"\n"), iotest.ErrReader(errors.New("cable pulled")))
	sink = &ingesttest.Sink{}
	got, err = Import(t.Context(), importing(sink), bad, "in")
	if err == nil || !strings.Contains(err.Error(), "cable pulled") || got.Events != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Import(t.Context(), ImportConfig{}, strings.NewReader(""), "in"); err == nil {
		t.Error("the zero config was taken")
	}
}

// The splitter gives the same lines as a split of the whole, however the input comes
// in, and knows where each begins.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nbc\r\n\n\nlonger than that\nx"), uint8(5), uint8(3))
	f.Add([]byte("\n"), uint8(0), uint8(1))
	f.Add([]byte(strings.Repeat("x", 100)), uint8(10), uint8(7))
	f.Add([]byte("abcde\r\nabcdef\r\n"), uint8(5), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, most, step uint8) {
		s := splitter{r: &dripping{text: text, step: int(step)%16 + 1}, most: int(most)}
		offset := int64(0)
		check := func(l line, want []byte, whole bool) {
			t.Helper()
			size := int64(len(want))
			if whole {
				size++
			}
			short := bytes.TrimSuffix(want, []byte("\r"))
			if !whole && len(want) <= int(most)+1 || whole {
				if l.long != (len(short) > int(most)) {
					t.Fatalf("%q of %d: long %v", want, most, l.long)
				}
			}
			if l.offset != offset || l.size != size || l.whole != whole || !l.long && !bytes.Equal(l.text, short) {
				t.Fatalf("%+v (%q) is not %q at %d", l, l.text, want, offset)
			}
			offset += size
		}
		parts := bytes.Split(text, []byte("\n"))
		ends := 0
		for _, want := range parts[:len(parts)-1] {
			l, err := s.next()
			for ; err != nil && ends < 10*len(text)+10; ends++ { // the input has paused
				l, err = s.next()
			}
			if err != nil {
				t.Fatalf("%q is missing: %v", want, err)
			}
			check(l, want, true)
		}
		for range len(text) + 2 { // to the end for good
			if _, err := s.next(); err == nil {
				t.Fatal("one line too many")
			}
		}
		last, ok := s.rest()
		if want := parts[len(parts)-1]; ok != (len(want) > 0) {
			t.Fatalf("rest %v of %q", ok, want)
		} else if ok {
			check(last, want, false)
		}
		if len(s.buf) > 4*readSize+2*int(most)+2*len(text) {
			t.Fatalf("%d bytes of memory", len(s.buf))
		}
	})
}

// dripping gives a few bytes at a time, and an end between them as a growing file
// does.
type dripping struct {
	text []byte
	step int
	odd  bool
}

func (d *dripping) Read(b []byte) (int, error) {
	if d.odd = !d.odd; d.odd {
		return 0, io.EOF
	}
	n := copy(b, d.text[:min(d.step, len(d.text))])
	d.text = d.text[n:]
	return n, nil
}

// The import takes whatever it is given, ends, and loses nothing without a word.
func FuzzImport(f *testing.F) {
	f.Add([]byte(event("a") + "\n" + event("b")))
	f.Add([]byte("[" + event("a") + ",\nx]\n" + event("b")))
	f.Add([]byte(ingesttest.List("a", "b")[:300]))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04"))
	f.Add([]byte("{\n\"items\":[\n[],{}],\"records\":[1]}{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		sink := &ingesttest.Sink{}
		cfg := importing(sink)
		cfg.MaxLine, cfg.Batch = 4096, 3
		got, err := Import(t.Context(), cfg, bytes.NewReader(text), "in")
		if err != nil {
			t.Fatal(err)
		}
		if got.Events != int64(len(sink.Events())) {
			t.Fatalf("%+v, and %d events", got, len(sink.Events()))
		}
		packed := bytes.HasPrefix(text, []byte{0x1f, 0x8b}) || bytes.HasPrefix(text, []byte{0x28, 0xb5, 0x2f, 0xfd})
		lists := bytes.Contains(text, []byte("[")) || bytes.Contains(text, []byte("items")) || bytes.Contains(text, []byte("records")) || bytes.Contains(text, []byte("logEvents"))
		if len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\uFEFF")))) > 0 && !packed && !lists && got.Events == 0 {
			t.Fatalf("%q came to nothing", text)
		}
	})
}

func BenchmarkImport(b *testing.B) {
	var text strings.Builder
	for i := range 10000 {
		text.WriteString(event(fmt.Sprint(i)) + "\n")
	}
	d := ingesttest.Decoder("import")
	d.Redact = new(redact.Redactor).Redact
	cfg := importing(ingesttest.Nowhere{})
	cfg.Decode = d.Decode
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Import(b.Context(), cfg, strings.NewReader(text.String()), "in"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10000/b.Elapsed().Seconds(), "events/s")
}
