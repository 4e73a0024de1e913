package app

import (
	"fmt"
	"io"
	"os"

	"bulwark.dev/bulwark/internal/posture/output"
)

// terminalOf says how wide a terminal is and whether it wants colour
// (https://no-color.org); anything else is no terminal.
func terminalOf(w io.Writer) output.Options {
	file, ok := w.(*os.File)
	if !ok {
		return output.Options{}
	}
	width := columns(file)
	return output.Options{Width: width, Color: width > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// progress shows one line on a terminal, and nothing anywhere else.
type progress struct {
	w     io.Writer
	width int
	shown bool
}

func newProgress(env *Env) *progress {
	return &progress{w: env.Stderr, width: terminalOf(env.Stderr).Width}
}

func (p *progress) say(format string, args ...any) {
	if p.width == 0 {
		return
	}
	line := []rune(output.Plain(fmt.Sprintf(format, args...)))
	line = line[:min(len(line), p.width-1)]
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", string(line))
	p.shown = true
}

// done takes the line away.
func (p *progress) done() {
	if p.shown {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.shown = false
	}
}
