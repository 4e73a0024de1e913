package log

import (
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/summary"
)

// Summaries gives what is known of sealed segments without opening them, in the order
// of their events. Not every segment has one; without a summary whose signature fits the
// trail's ledger and key there are none, and the error says why.
func (v *View) Summaries() ([]summary.Segment, error) {
	return summary.Read(v.dir)
}

// summarize adds a sealed segment to the summary. That it cannot be is no reason not to
// go on: searches then open the segment.
func (l *Log) summarize(p pending, s *loaded) {
	by, ok := l.cfg.Ledger.(summary.Signer)
	if !ok {
		return
	}
	if l.summary == nil {
		l.summary = summary.NewWriter(l.cfg.Dir, by)
	}
	said := s.segment.Meta()
	line := summary.Segment{
		First: p.first, Last: p.last, Oldest: said.From.UnixMicro(), Newest: said.To.UnixMicro(),
		From: s.from.UnixMicro(), To: s.to.UnixMicro(),
	}
	for _, k := range audit.Kinds() {
		if said.Kinds[k] > 0 {
			line.Add(k)
		}
	}
	if err := l.summary.Add(&line); err != nil {
		l.trouble(TroubleSummary, filepath.Join(l.cfg.Dir, summary.Name), err)
	}
}
