package segment

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// hostile makes events that ParseCanonical takes, as strange as they can be.
type hostile struct{ rand *rand.Rand }

func (h hostile) text() string {
	texts := []string{
		"", "", "", "a", "\x00", "\x00\x01\x1f\x7f", "\b\t\n\f\r\"\\/", `"\`, `\u0041`, "null", "{}", "[]", `{"a":"b"}`, "é漢🦀", "�", " ", ",", "]", "}",
		"00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000",
		"123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000", "123e4567+e89b-12d3-a456-426614174000", "{123e4567-e89b-12d3-a456-426614174000}",
		"0", "-0", "00", "1", "-1", "+1", "999999999999999999", "1000000000000000000", "9223372036854775808", "0x10", "1e3", " 1",
		keyDecision, keyDecisionReason, "PAR1", strings.Repeat("long ", 3000),
	}
	if h.rand.IntN(6) == 0 {
		b := make([]rune, h.rand.IntN(12))
		for i := range b {
			b[i] = rune(h.rand.IntN(0x250))
		}
		return string(b)
	}
	return texts[h.rand.IntN(len(texts))]
}

func (h hostile) list() []string {
	if h.rand.IntN(2) == 0 {
		return nil
	}
	list := make([]string, h.rand.IntN(4))
	for i := range list {
		list[i] = h.text()
	}
	return list
}

func (h hostile) user() audit.User {
	u := audit.User{Username: h.text(), UID: h.text(), Groups: h.list()}
	if h.rand.IntN(3) == 0 {
		u.Extra = map[string][]string{}
		for range h.rand.IntN(4) {
			u.Extra[h.text()] = h.list()
		}
	}
	return u
}

func (h hostile) time() time.Time {
	switch h.rand.IntN(5) {
	case 0:
		return time.Time{}
	case 1:
		return time.Date(h.rand.IntN(9999)+1, 3, 1, 2, 3, 4, h.rand.IntN(1e6)*1000, time.UTC)
	case 2:
		return time.Date([...]int{1, 1969, 1970, 9999}[h.rand.IntN(4)], 12, 31, 23, 59, 59, 999999000, time.UTC)
	}
	return time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(h.rand.Int64N(1e9)) * time.Microsecond)
}

func (h hostile) body() []byte {
	return []byte([...]string{"", "", "null", "{}", "[]", `""`, "0", `{"a":["b",null,1.50]}`, `"` + strings.Repeat("x", 40000) + `"`}[h.rand.IntN(9)])
}

func (h hostile) event() *audit.Event {
	kinds := audit.Kinds()
	e := &audit.Event{
		Kind: kinds[h.rand.IntN(len(kinds))], Source: h.text(), Cluster: h.text(), Received: h.time(), AuditID: h.text(),
		Level: h.text(), Stage: h.text(), RequestURI: h.text(), Verb: h.text(), SaidVerb: h.text(), User: h.user(),
		SourceIPs: h.list(), UserAgent: h.text(),
		Object: audit.ObjectRef{
			APIGroup: h.text(), APIVersion: h.text(), Resource: h.text(), Subresource: h.text(),
			Namespace: h.text(), Name: h.text(), UID: h.text(), ResourceVersion: h.text(),
		},
		Status: audit.Status{
			Code:   [...]int32{0, 200, -1, 299, 300, 1000, 99, 1<<31 - 1, -1 << 31}[h.rand.IntN(9)],
			Status: [...]string{h.text(), "Failure"}[h.rand.IntN(2)], Reason: h.text(), Message: h.text(),
		},
		RequestObject: h.body(), ResponseObject: h.body(), RequestReceived: h.time(), StageAt: h.time(),
	}
	if h.rand.IntN(3) == 0 {
		u := h.user()
		e.Impersonated = &u
	}
	if h.rand.IntN(2) == 0 {
		e.Annotations = map[string]string{}
		for range h.rand.IntN(4) {
			e.Annotations[[...]string{h.text(), keyDecision, keyDecisionReason}[h.rand.IntN(3)]] = [...]string{h.text(), "allow", "forbid"}[h.rand.IntN(3)]
		}
	}
	for range h.rand.IntN(3) {
		e.Redactions = append(e.Redactions, audit.Redaction{Path: h.text(), Commitment: h.text()})
	}
	if h.rand.IntN(3) == 0 {
		e.More = []byte(`{"x":{"y":[1,"z"]}}`)
	}
	return e
}

// rows makes n of them, by way of their canonical form, with a pruned one now and then.
func (h hostile) rows(tb testing.TB, n int) []Row {
	tb.Helper()
	hash := newHasher()
	rows := make([]Row, n)
	for i := range rows {
		e, err := audit.ParseCanonical(audit.AppendCanonical(nil, h.event()))
		if err != nil {
			tb.Fatalf("the test made an event that is none: %v", err)
		}
		rows[i] = Row{Event: e, Leaf: hash.leaf(e)}
		if h.rand.IntN(8) == 0 {
			rows[i].Event, rows[i].Pruned = nil, true
		}
	}
	return rows
}
