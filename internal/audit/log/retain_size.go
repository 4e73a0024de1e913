package log

import (
	"context"
	"fmt"

	"bulwark.dev/bulwark/internal/audit/log/policy"
)

// bySize takes the oldest of what is too much: of classes that have too much, and then
// of all that are not kept for good, until the whole is small enough.
func (r *retention) bySize(ctx context.Context) error {
	r.measure()
	total := r.out.BytesAfter
	over := r.policy.MaxBytes > 0 && total > r.policy.MaxBytes
	for i := range r.policy.Classes {
		most := r.policy.Classes[i].MaxBytes
		over = over || most > 0 && total > most
	}
	if !over {
		return nil
	}
	taken := map[*policy.Class]int64{} // bytes per class
	for _, f := range r.files {
		s, err := r.survey(ctx, f)
		if err != nil {
			if err := r.failed(ctx, f, err); err != nil {
				return err
			}
			continue
		}
		for i := range r.policy.Classes {
			c := &r.policy.Classes[i]
			taken[c] += s.bytes(f, c)
		}
	}
	marks := make([]map[*policy.Class]due, len(r.files))
	mark := func(n int, c *policy.Class, why string) {
		s := r.surveys[r.files[n].First]
		if s == nil || c.Keep == 0 || net(s.bytes(r.files[n], c), s.of(c).events) <= 0 {
			return // nothing is there, or nothing would be won
		}
		if marks[n] == nil {
			marks[n] = map[*policy.Class]due{}
		}
		if _, marked := marks[n][c]; marked {
			return
		}
		marks[n][c] = due{why: why}
		size := s.bytes(r.files[n], c)
		taken[c] -= size
		total -= net(size, s.of(c).events)
	}
	for i := range r.policy.Classes {
		c := &r.policy.Classes[i]
		for n := 0; n < len(r.files) && c.MaxBytes > 0 && taken[c] > c.MaxBytes; n++ {
			mark(n, c, fmt.Sprintf("the oldest of a class of more than %d bytes", c.MaxBytes))
		}
		if c.MaxBytes > 0 {
			r.result(c).Over = max(0, taken[c]-c.MaxBytes)
		}
	}
	for n := 0; n < len(r.files) && r.policy.MaxBytes > 0 && total > r.policy.MaxBytes; n++ {
		for i := range r.policy.Classes {
			mark(n, &r.policy.Classes[i], fmt.Sprintf("the oldest of a trail of more than %d bytes", r.policy.MaxBytes))
		}
	}
	for n, f := range r.files {
		if err := r.take(ctx, f, marks[n]); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}
