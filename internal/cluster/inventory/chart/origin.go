package chart

import (
	"strings"
	"sync"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Origin is where an object of a chart comes from. The file is the template, or the
// one with the named template that it includes, as a path below the chart's; the
// line is the one that made the field's line, found by laying what was rendered
// beside the templates: exact for lines that stand in one, the line of the include
// or toYaml for what else those made, and the nearest line above where nothing
// fits.
type Origin struct {
	chart  *Chart
	source *source
	inner  inventory.Origin
}

// Chart gives the chart.
func (o *Origin) Chart() *Chart { return o.chart }

// Template gives the path of the template.
func (o *Origin) Template() string { return o.source.path }

// Locate gives the place of a field in the template.
func (o *Origin) Locate(path string) bulwark.Location {
	line := 1
	if o.inner != nil {
		line = o.inner.Locate(path).Line
	}
	return o.source.place(line)
}

// source is one template and what it made.
type source struct {
	path, template, rendered string
	defines                  map[string]define

	once sync.Once
	help []define
	// lines are those of the template and then of help, by line of what was made,
	// all from 0.
	lines []int
}

// place gives the place that made a line, from 1, of what was rendered.
func (s *source) place(rendered int) bulwark.Location {
	s.once.Do(func() {
		s.help = reach(s.template, s.defines)
		texts := []string{s.template}
		for _, d := range s.help {
			texts = append(texts, d.text)
		}
		s.lines = align(s.rendered, texts...)
	})
	at := bulwark.Location{File: s.path, Line: 1}
	if rendered < 1 || len(s.lines) == 0 {
		return at
	}
	line := s.lines[min(rendered, len(s.lines))-1]
	rest := line - strings.Count(s.template, "\n") - 1
	for _, d := range s.help {
		if rest < 0 {
			break
		}
		n := strings.Count(d.text, "\n") + 1
		if rest < n {
			return bulwark.Location{File: d.path, Line: d.first + rest + 1}
		}
		rest -= n
	}
	at.Line = line + 1
	return at
}
