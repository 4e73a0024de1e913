package fix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// maxTries is how many values are tried for one field, maxRenders how often one
// chart is rendered for that.
const maxTries, maxRenders = 24, 1000

func decode(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(v)
}

// helm is the work on one chart.
type helm struct {
	chart    *chart.Chart
	before   rendering
	problems int
	want     wants
	loose    map[string]bool
	all      map[string]any // the values that templates see
	drivers  map[string][]fieldpath.Path
	// over holds the values that were found so far, set in the order of changes.
	over    map[string]any
	changes []splice.Edit
	now     rendering
	renders int
}

// chart changes the values of a chart. A value counts only if with it the chart,
// rendered again, differs in the wanted fields and in no others.
func (w *world) chart(c *chart.Chart, todos []*todo, snap *inventory.Snapshot) {
	for _, v := range c.Values() {
		if f := w.files[v.Path]; f != nil {
			next, err := c.With(v.Path, f.New)
			if err != nil {
				leave(todos, err.Error())
				return
			}
			c = next
		}
	}
	objects, problems := c.Render()
	again, _ := c.Render()
	h := &helm{chart: c, before: contents(objects), problems: len(problems), want: wanted(todos), over: map[string]any{}}
	h.loose = loose(h.before, contents(again))
	h.now = h.before
	var err error
	if h.all, err = c.All(); err != nil {
		leave(todos, "the values of the chart cannot be read: "+err.Error())
		return
	}
	h.learn()
	for _, t := range todos {
		if err := h.fix(t); err != nil {
			t.reason = err.Error()
		}
	}
	if len(h.changes) == 0 {
		return
	}
	files, made, err := h.write()
	if err != nil {
		leave(todos, err.Error())
		return
	}
	for _, f := range files {
		w.change(f.Path, f.Old, f.New)
		w.named = append(w.named, f.Path)
	}
	for _, o := range snap.Objects() {
		if from, ok := o.Origin().(*chart.Origin); ok && from.Chart() == todos[0].object.Origin().(*chart.Origin).Chart() { //nolint:forcetypeassert // they were grouped by it
			w.gone[o] = true
		}
	}
	w.made = append(w.made, made...)
}

// learn finds which values drive which fields: the chart is rendered a second time
// with a mark in every text and number of the values, and where a mark comes out,
// its value went in. If the chart does not stand that, nothing is learnt.
func (h *helm) learn() {
	marks := map[string]fieldpath.Path{}
	marked := marking(h.all, nil, marks)
	over, ok := marked.(map[string]any)
	if !ok {
		return
	}
	objects, _ := h.chart.RenderWith(over)
	h.drivers = map[string][]fieldpath.Path{}
	for _, o := range objects {
		var v any
		if decode(o.Raw(), &v) == nil {
			// Names can be made of values too, so fields count whatever object they are in.
			h.drive(v, nil, o.Kind, marks)
		}
	}
}

// marking gives values with a mark in place of each text and number.
func marking(v any, at fieldpath.Path, marks map[string]fieldpath.Path) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range sorted(v, func(k string) string { return k }) {
			out[k] = marking(v[k], at.Key(k), marks)
		}
		return out
	case string:
		if v == "" {
			return v
		}
		mark := fmt.Sprintf("bwmark%dx", len(marks))
		marks[mark] = at
		return mark
	case float64, int64, json.Number:
		n := 3_017 + len(marks) // small, since templates may count to it
		marks[fmt.Sprint(n)] = at
		return n
	}
	return v
}

func (h *helm) drive(v any, at fieldpath.Path, kind string, marks map[string]fieldpath.Path) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			h.drive(e, at.Key(k), kind, marks)
		}
	case []any:
		for i, e := range v {
			h.drive(e, at.At(i), kind, marks)
		}
	case string, json.Number:
		text := fmt.Sprint(v)
		for mark, from := range marks {
			if text == mark {
				key := kind + " " + at.String()
				h.drivers[key] = append(h.drivers[key], from)
			}
		}
	}
}

// fix finds the values for one finding.
func (h *helm) fix(t *todo) error {
	over, changes, now := h.over, h.changes, h.now
	for _, e := range t.edits {
		if err := h.edit(t, e); err != nil {
			h.over, h.changes, h.now = over, changes, now
			return err
		}
	}
	return nil
}

func (h *helm) edit(t *todo, e splice.Edit) error {
	ref := t.object.ObjectRef
	if met(h.before[ref], h.now[ref], e) {
		return nil // another finding's value did it
	}
	why := ""
	for i, path := range h.candidates(t, e) {
		if i == maxTries || h.renders == maxRenders {
			break
		}
		set := splice.Edit{Path: path, Value: e.Value}
		if e.Remove {
			set.Value = nil // null takes a value away
		}
		next, err := splice.Changed(h.over, set)
		if err != nil {
			continue
		}
		over, ok := next.(map[string]any)
		if !ok {
			continue
		}
		h.renders++
		objects, problems := h.chart.RenderWith(over)
		now := contents(objects)
		if len(problems) > h.problems || !met(h.before[ref], now[ref], e) {
			continue
		}
		if extra := unintended(h.before, now, h.want, h.loose); extra != "" {
			why = fmt.Sprintf("; the value %s would do it, but %s", path, extra)
			continue
		}
		h.over, h.now = over, now
		h.changes = append(h.changes, splice.Edit{Path: path, Value: e.Value, Remove: e.Remove})
		return nil
	}
	return h.byHand(t, e, why)
}

// byHand says what to change in the template.
func (h *helm) byHand(t *todo, e splice.Edit, why string) error {
	at := t.object.Locate(e.Path.String())
	do := "remove " + e.Path.String()
	if !e.Remove {
		value, err := json.Marshal(e.Value)
		if err != nil {
			return err
		}
		do = fmt.Sprintf("set %s: %s", e.Path, value)
	}
	return fmt.Errorf("no value of the chart sets this field alone%s: in %s, near line %d, %s", why, at.File, at.Line, do)
}

// candidates lists the values that may drive a field, the likeliest first: those
// that were seen to, values of the field's name, and places in maps that templates
// write out whole.
func (h *helm) candidates(t *todo, e splice.Edit) []fieldpath.Path {
	type scored struct {
		path  fieldpath.Path
		score int
	}
	var found []scored
	about := t.object.Name + " " + t.finding.Container
	if from, ok := t.object.Origin().(*chart.Origin); ok {
		about += " " + from.Template()
	}
	about = strings.ToLower(about)
	add := func(path fieldpath.Path, score int) {
		for _, s := range path {
			if s.Key != "" && strings.Contains(about, strings.ToLower(s.Key)) {
				score++
			}
		}
		found = append(found, scored{path, score})
	}
	for _, path := range h.drivers[t.object.Kind+" "+e.Path.String()] {
		add(path, 100)
	}
	last := trailing(e.Path)
	var walk func(table map[string]any, at fieldpath.Path, depth int)
	walk = func(table map[string]any, at fieldpath.Path, depth int) {
		if depth > 8 || len(found) > 2000 {
			return
		}
		for n := 1; n <= len(last); n++ {
			tail := last[len(last)-n:]
			_, leaf := tail.Get(table)
			switch {
			case leaf:
				add(append(slices.Clone(at), tail...), 40+10*n)
			case len(at) > 0 && len(last) > n && alike(at[len(at)-1].Key, last[len(last)-n-1].Key):
				add(append(slices.Clone(at), tail...), 30+10*n)
			case len(at) > 0 && n == len(last) && len(last) < len(e.Path) && e.Path[len(e.Path)-n-1].Index >= 0:
				add(append(slices.Clone(at), tail...), 1) // the map of a container
			case n == 1 && e.Value != nil:
				for k, v := range table {
					_, flag := v.(bool)
					_, set := e.Value.(bool)
					switch {
					case alike(k, tail[0].Key):
						add(at.Key(k), 20)
					case flag && set:
						add(at.Key(k), 0)
					}
				}
			}
		}
		for _, k := range sorted(table, func(k string) string { return k }) {
			if inner, ok := table[k].(map[string]any); ok {
				walk(inner, at.Key(k), depth+1)
			}
		}
	}
	walk(h.all, nil, 0)
	slices.SortStableFunc(found, func(a, b scored) int { return b.score - a.score })
	var out []fieldpath.Path
	for _, f := range found {
		if !slices.ContainsFunc(out, func(p fieldpath.Path) bool { return compare(p, f.path) == 0 }) {
			out = append(out, f.path)
		}
	}
	return out
}

// trailing gives the steps after the last index of a path.
func trailing(path fieldpath.Path) fieldpath.Path {
	for i, s := range slices.Backward(path) {
		if s.Index >= 0 {
			return path[i+1:]
		}
	}
	return path
}

// alike reports whether a value's name says a field's: "podSecurityContext" says
// "securityContext", "automount" says "automountServiceAccountToken".
func alike(value, field string) bool {
	value, field = strings.ToLower(value), strings.ToLower(field)
	return value == field || len(field) > 3 && (strings.HasSuffix(value, field) || strings.HasPrefix(value, field)) ||
		len(value) > 4 && strings.HasPrefix(field, value)
}

// write puts the values into the files that they stand in, or the strongest that
// the user gave, renders that and compares.
func (h *helm) write() ([]File, []*inventory.Object, error) {
	c := h.chart
	texts := map[string][]byte{}
	var order []chart.ValuesFile
	for _, v := range slices.Backward(c.Values()) { // the strongest first
		texts[v.Path] = v.Text
		order = append(order, v)
	}
	if len(order) == 0 {
		return nil, nil, errors.New("the chart is packed and no values file was given: give one with -f")
	}
	for _, e := range h.changes {
		path := place(order, texts, e.Path)
		text, err := splice.Apply(texts[path], []splice.Edit{e})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		texts[path] = text
	}
	var files []File
	for _, v := range order {
		if bytes.Equal(texts[v.Path], v.Text) {
			continue
		}
		files = append(files, marked(v, texts[v.Path]))
		next, err := c.With(v.Path, texts[v.Path])
		if err != nil {
			return nil, nil, err
		}
		c = next
	}
	objects, problems := c.Render()
	now := contents(objects)
	if len(problems) > h.problems {
		return nil, nil, errors.New("with the values changed the chart does not render: " + problems[len(problems)-1].What)
	}
	if extra := unintended(h.now, now, nil, h.loose); extra != "" {
		return nil, nil, errors.New("the values are overruled by others, on the command line perhaps")
	}
	return files, objects, nil
}

// marked gives the change of a values file. The chart's own is read without a byte
// order mark, which stays where it is.
func marked(v chart.ValuesFile, text []byte) File {
	const mark = "\xef\xbb\xbf"
	out := File{Path: v.Path, Old: v.Text, New: text}
	if disk, err := read(v.Path); err == nil && string(disk) == mark+string(v.Text) {
		out.Old, out.New = disk, append([]byte(mark), text...)
	}
	return out
}

// place gives the file that a value is written to: the strongest that has it, or
// that has what it is in.
func place(order []chart.ValuesFile, texts map[string][]byte, path fieldpath.Path) string {
	for n := len(path); n > 0; n-- {
		for _, v := range order {
			var content any
			if yaml.Unmarshal(texts[v.Path], &content) != nil {
				continue
			}
			if _, ok := path[:n].Get(content); ok {
				return v.Path
			}
		}
	}
	return order[0].Path
}
