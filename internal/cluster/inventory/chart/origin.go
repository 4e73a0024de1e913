package chart

import (
	"sync"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Origin is where an object of a chart comes from. The file is the template, as a
// path below the chart's; the line is that of the template which made the field's
// line, found by laying what was rendered beside the template: exact for lines
// that stand in the template, the line of the include or toYaml for what those
// made, and the nearest line above where nothing fits.
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
	return bulwark.Location{File: o.source.path, Line: o.source.line(line)}
}

// source is one template and what it made.
type source struct {
	path, template, rendered string

	once  sync.Once
	lines []int // line of the template, by line of what it made, both from 0
}

// line gives the template's line for one of what it made, both from 1.
func (s *source) line(rendered int) int {
	s.once.Do(func() { s.lines = align(s.template, s.rendered) })
	if rendered < 1 || len(s.lines) == 0 {
		return 1
	}
	return s.lines[min(rendered, len(s.lines))-1] + 1
}
