package chart

import (
	"regexp"
	"slices"
	"strings"
)

// define is a named template, which others include.
type define struct {
	path string
	// first is the line of its file, from 0, that text begins with.
	first int
	text  string
}

var (
	// blocks finds the actions that begin and end blocks, comments left out.
	blocks = regexp.MustCompile(`(?s)\{\{-?\s*(?:/\*.*?\*/|(define|block|if|range|with|end)\b(?:\s+"([^"]*)")?)`)
	// included finds the templates that text includes by a plain name.
	included = regexp.MustCompile(`\b(?:include|template)\s+"([^"]+)"`)
)

// defines finds the named templates of all files.
func defines(all []template) map[string]define {
	out := map[string]define{}
	for _, t := range all {
		text := string(t.file.Data)
		depth, name, from := 0, "", 0
		for _, m := range blocks.FindAllStringSubmatchIndex(text, -1) {
			switch word := part(text, m, 1); word {
			case "":
			case "end":
				if depth--; depth == 0 && name != "" {
					out[name] = define{path: t.path, first: strings.Count(text[:from], "\n"), text: text[from:m[0]]}
					name = ""
				}
			default:
				if depth == 0 && word == "define" {
					name, from = part(text, m, 2), m[1]
					if end := strings.Index(text[from:], "}}"); end >= 0 {
						from += end + 2
					}
				}
				depth++
			}
		}
	}
	return out
}

func part(text string, m []int, group int) string {
	if m[2*group] < 0 {
		return ""
	}
	return text[m[2*group]:m[2*group+1]]
}

// maxHelp is how many lines of named templates are laid beside one text.
const maxHelp = 3000

// reach gives the named templates that text includes, and those that they include.
func reach(text string, all map[string]define) []define {
	var out []define
	lines := 0
	seen := map[string]bool{}
	queue := []string{text}
	for len(queue) > 0 {
		for _, m := range included.FindAllStringSubmatch(queue[0], -1) {
			d, ok := all[m[1]]
			if !ok || seen[m[1]] {
				continue
			}
			seen[m[1]] = true
			if lines += strings.Count(d.text, "\n"); lines > maxHelp {
				return out
			}
			out = append(out, d)
			queue = append(queue, d.text)
		}
		queue = queue[1:]
	}
	slices.SortFunc(out, func(a, b define) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return a.first - b.first
	})
	return out
}
