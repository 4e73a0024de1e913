package chart

import (
	"slices"
	"strings"
)

// What the parts of an alignment cost. Only their order matters: a line that
// stands in the template is surer than one with actions in it, that surer than
// the output of an action alone; going on is likelier than going back, which only
// loops do.
const (
	costMixed, costBegins, costOutput, costNone = 0.5, 2.0, 3.0, 5.0
	costStep, costFar                           = 0.02, 1.5
	costBack, costAgain, costHelp               = 1.5, 1.0, 0.3
	maxCandidates                               = 64
	maxAligned                                  = 20_000 // lines of what was rendered
)

// piece says what a line of a template can make.
type piece struct {
	text    string   // the whole line, where no action is in it
	parts   []string // else the literal parts between actions
	output  bool     // nothing literal, but an action that writes
	control bool     // nothing that could be seen
}

// align gives for each line of rendered the line of the templates that most likely
// made it, by the cheapest way through both. The lines of the templates count on
// from one to the next; the first is the one that was rendered, the others are what
// it includes.
func align(rendered string, templates ...string) []int {
	var pieces []piece
	var bounds []int
	for _, t := range templates {
		pieces = append(pieces, split(t)...)
		bounds = append(bounds, len(pieces))
	}
	lines := strings.Split(rendered, "\n")
	exact := map[string][]int{}
	var mixed, outputs []int
	for i, p := range pieces {
		switch {
		case p.control:
		case p.output:
			outputs = append(outputs, i)
		case p.parts != nil:
			mixed = append(mixed, i)
		default:
			exact[p.text] = append(exact[p.text], i)
		}
	}
	w := way{pieces: pieces, exact: exact, mixed: mixed, outputs: outputs, bounds: bounds}
	if len(lines) > maxAligned || len(lines)*len(mixed) > 50_000_000 || len(rendered)*len(mixed) > 2_000_000_000 {
		return w.quick(lines)
	}
	return w.cheapest(lines)
}

type way struct {
	pieces         []piece
	exact          map[string][]int
	mixed, outputs []int
	bounds         []int // where each template ends
}

// of gives the template that a line is of.
func (w *way) of(line int) int {
	i, _ := slices.BinarySearch(w.bounds, line+1)
	return i
}

// step is one line of the template as the maker of one line.
type step struct {
	line int
	cost float64
	sum  float64 // with all before
	from int     // index in the row before
}

func (w *way) cheapest(lines []string) []int {
	rows := make([][]step, 0, len(lines))
	at := make([]int, 0, len(lines)) // the line of each row
	for i, line := range lines {
		row := w.candidates(strings.TrimSpace(line), best(rows))
		if len(row) == 0 {
			continue
		}
		for k := range row {
			row[k].from, row[k].sum = -1, row[k].cost
			if len(rows) == 0 {
				row[k].sum += min(costStep*float64(row[k].line), costFar)
				continue
			}
			for p, before := range rows[len(rows)-1] {
				if sum := before.sum + row[k].cost + w.move(before.line, row[k].line); row[k].from < 0 || sum < row[k].sum {
					row[k].sum, row[k].from = sum, p
				}
			}
		}
		rows, at = append(rows, row), append(at, i)
	}
	out := make([]int, len(lines))
	for i := range out {
		out[i] = -1
	}
	if len(rows) > 0 {
		k := least(rows[len(rows)-1])
		for r, row := range slices.Backward(rows) {
			out[at[r]] = row[k].line
			k = row[k].from
		}
	}
	return filled(out)
}

// least gives the index of the cheapest step so far.
func least(row []step) int {
	k := 0
	for i := range row {
		if row[i].sum < row[k].sum {
			k = i
		}
	}
	return k
}

// best gives the line of the cheapest step so far.
func best(rows [][]step) int {
	if len(rows) == 0 {
		return 0
	}
	last := rows[len(rows)-1]
	return last[least(last)].line
}

// around gives the few of many lines that stand nearest to one.
func around(lines []int, near int) []int {
	const few = 24
	if len(lines) <= few {
		return lines
	}
	at, _ := slices.BinarySearch(lines, near)
	from := max(0, min(at-few/2, len(lines)-few))
	return lines[from : from+few]
}

// filled gives lines that nothing fits the line of what is above.
func filled(out []int) []int {
	last := 0
	for i, line := range out {
		if line < 0 {
			out[i] = last
		}
		last = out[i]
	}
	return out
}

func (w *way) move(from, to int) float64 {
	switch {
	case w.of(from) != w.of(to):
		return costFar
	case to > from:
		return min(costStep*float64(to-from), costFar)
	case to == from && w.pieces[to].output:
		return 0
	case to == from:
		return costAgain
	default:
		return costBack + min(costStep*float64(from-to), costFar)
	}
}

// candidates are the lines that can have made a line, of many alike those near to
// where the line before was made.
func (w *way) candidates(line string, near int) []step {
	if line == "" {
		return nil
	}
	var out []step
	for _, i := range around(w.exact[line], near) {
		out = append(out, step{line: i})
	}
	for _, i := range w.mixed {
		if w.pieces[i].fits(line) {
			out = append(out, step{line: i, cost: costMixed + 1/float64(1+len(strings.Join(w.pieces[i].parts, "")))})
		}
	}
	if len(out) == 0 {
		if at := strings.IndexByte(line, ':'); at > 0 {
			for _, i := range around(w.exact[line[:at+1]], near) {
				out = append(out, step{line: i, cost: costBegins})
			}
		}
	}
	for _, i := range around(w.outputs, near) {
		out = append(out, step{line: i, cost: costOutput})
	}
	for i, s := range out {
		if w.of(s.line) > 0 {
			out[i].cost += costHelp
		}
	}
	if len(out) > maxCandidates {
		out = slices.Clip(out[:maxCandidates])
	}
	return out
}

// quick goes through a very long text once and takes the next line that is the
// same.
func (w *way) quick(lines []string) []int {
	out := make([]int, len(lines))
	last := 0
	for i, line := range lines {
		if found := w.exact[strings.TrimSpace(line)]; len(found) > 0 {
			k, _ := slices.BinarySearch(found, last+1)
			last = found[min(k, len(found)-1)]
		}
		out[i] = last
	}
	return out
}

// fits reports whether a line holds the literal parts in their order.
func (p piece) fits(line string) bool {
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if !strings.HasPrefix(line, first) || !strings.HasSuffix(line, last) || len(line) < len(first)+len(last) {
		return false
	}
	rest := line[len(first) : len(line)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return true
}

// split cuts a template into what its lines can make. Actions may span lines.
func split(template string) []piece {
	var out []piece
	inside := false
	for line := range strings.SplitSeq(template, "\n") {
		var parts []string
		output := false
		text := line
		part := ""
		actions := inside
		for {
			if inside {
				end := strings.Index(text, "}}")
				if end < 0 {
					break
				}
				text, inside = text[end+2:], false
				continue
			}
			start := strings.Index(text, "{{")
			if start < 0 {
				part += text
				break
			}
			part += text[:start]
			parts, part = append(parts, part), ""
			text, inside, actions = text[start+2:], true, true
			output = output || writes(text)
		}
		parts = append(parts, part)
		if actions && len(parts) == 1 { // the end of an action that began above
			parts = append([]string{""}, parts...)
		}
		out = append(out, pieceOf(parts, actions, output))
	}
	return out
}

func pieceOf(parts []string, actions, output bool) piece {
	parts[0] = strings.TrimLeft(parts[0], " \t")
	parts[len(parts)-1] = strings.TrimRight(parts[len(parts)-1], " \t\r")
	whole := strings.TrimSpace(strings.Join(parts, ""))
	switch {
	case !actions:
		return piece{text: whole, control: whole == ""}
	case whole == "":
		return piece{output: output, control: !output}
	case !output: // {{ if .x }}text{{ end }}
		return piece{text: whole}
	}
	// A "-" inside braces eats the space around, so spaces at the edges prove nothing.
	for i := range parts {
		if i > 0 {
			parts[i] = strings.TrimLeft(parts[i], " \t")
		}
		if i < len(parts)-1 {
			parts[i] = strings.TrimRight(parts[i], " \t")
		}
	}
	return piece{parts: parts}
}

// writes reports whether an action, of which text is what follows the braces,
// can write anything.
func writes(text string) bool {
	text = strings.TrimLeft(strings.TrimPrefix(text, "-"), " \t")
	word := text
	if at := strings.IndexAny(text, " \t}("); at >= 0 {
		word = text[:at]
	}
	switch word {
	case "if", "else", "end", "range", "with", "define", "block", "break", "continue", "else-", "end-":
		return false
	}
	if strings.HasPrefix(text, "/*") {
		return false
	}
	if strings.HasPrefix(text, "$") {
		end := strings.Index(text, "}}")
		if end < 0 {
			end = len(text)
		}
		before, _, assigned := strings.Cut(text[:end], "=")
		return !assigned || strings.ContainsAny(strings.TrimSuffix(strings.TrimSpace(before), ":"), " |(")
	}
	return true
}
