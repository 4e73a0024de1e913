package proof

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func someRecord(number uint64) Record {
	at := time.Date(2026, 11, 21, 17, 0, 0, 123456000, time.UTC).Add(time.Duration(number) * time.Minute)
	r := Record{
		Version: RecordVersion, Number: number, First: (number-1)*100 + 1, Last: number * 100, Events: 100,
		Root: LeafHash([]byte{byte(number)}), Chain: LeafHash([]byte{byte(number), 1}), From: at, To: at.Add(time.Minute),
	}
	if number > 1 {
		r.Previous = LeafHash([]byte{byte(number), 2})
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	for _, r := range []Record{someRecord(1), someRecord(2), someRecord(900)} {
		raw, err := r.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRecord(raw)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("record changed on its way:\n%s", diff)
		}
	}
}

// TestRecordIsTextThatPeopleRead pins the form: what is signed cannot change its bytes.
func TestRecordIsTextThatPeopleRead(t *testing.T) {
	t.Parallel()
	r := someRecord(2)
	r.Root, r.Chain, r.Previous = Hash{1}, Hash{2}, Hash{3}
	raw, err := r.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("00", 31)
	want := "bulwark.dev/audit/segment/v1\nnumber 2\nfirst 101\nlast 200\nevents 100\n" +
		"root 01" + zeros + "\nchain 02" + zeros + "\nprevious 03" + zeros + "\n" +
		"from 2026-11-21T17:02:00.123456Z\nto 2026-11-21T17:03:00.123456Z\n"
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff)
	}
}

func TestRecordRefuses(t *testing.T) {
	t.Parallel()
	good, err := someRecord(2).AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, with string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("no %q in\n%s", old, good)
		}
		return bytes.Replace(good, []byte(old), []byte(with), 1)
	}
	cases := map[string][]byte{
		"nothing":             nil,
		"another version":     replace("segment/v1", "segment/v2"),
		"a leading zero":      replace("number 2", "number 02"),
		"a plus":              replace("first 101", "first +101"),
		"number zero":         replace("number 2", "number 0"),
		"too few events":      replace("events 100", "events 99"),
		"the wrong way round": replace("last 200", "last 20"),
		"a gap before":        replace("number 2", "number 1"),
		"more after it":       append(bytes.Clone(good), "more\n"...),
		"no last newline":     good[:len(good)-1],
		"upper case hex":      bytes.ToUpper(good),
		"nanoseconds":         replace("00.123456Z", "00.123456789Z"),
		"milliseconds":        replace("00.123456Z", "00.123Z"),
		"another zone":        replace("00.123456Z", "00.123456+00:00"),
		"a comma":             replace("00.123456Z", "00,123456Z"),
		"a time twice":        replace("to 2026", "from 2026"),
		"a carriage return":   bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"times exchanged":     replace("to 2026", "to 2025"),
		"an eleventh line":    replace("number 2", "number 2\nnumber 2"),
	}
	for name, raw := range cases {
		if r, err := ParseRecord(raw); err == nil {
			t.Errorf("%s: taken as %+v", name, r)
		}
	}
	first := someRecord(1)
	first.Previous = Hash{1}
	if _, err := first.AppendText(nil); err == nil {
		t.Error("a first record with one before it was written")
	}
	second := someRecord(2)
	second.Previous = Hash{}
	if _, err := second.AppendText(nil); err == nil {
		t.Error("a second record without one before it was written")
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, n := range []uint64{1, 2, 77} {
		raw, err := someRecord(n).AppendText(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("bulwark.dev/audit/segment/v1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseRecord(raw)
		if err != nil {
			return
		}
		again, err := r.AppendText(nil)
		if err != nil || !bytes.Equal(raw, again) {
			t.Errorf("%v: was\n%q\nand is\n%q", err, raw, again)
		}
	})
}
