package query

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

// What is said of a segment that is not open holds for each of its events.
func TestOutlook(t *testing.T) {
	t.Parallel()
	never, always := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var events []*audit.Event
		for i := range rapid.IntRange(1, 6).Draw(t, "events") {
			events = append(events, searchtest.RandomEvent(t, fmt.Sprint(i)))
		}
		k := Known(searchtest.See(events))
		for range 30 {
			q, err := Parse(searchtest.RandomQuery(t, 2), env())
			if err != nil || q.expr == nil {
				t.Fatal(err)
			}
			o := q.expr.outlook(&k)
			for _, e := range events {
				if got := q.Match(e); got && !o.may || !got && o.must {
					t.Fatalf("%s: %+v, and of an event it is %t: %s", q, o, got, audit.AppendCanonical(nil, e))
				}
			}
			if !o.may {
				never++
			}
			if o.must {
				always++
			}
		}
	})
	if never < 10 || always < 10 {
		t.Errorf("%d times nothing was possible, %d times everything sure", never, always)
	}
}
