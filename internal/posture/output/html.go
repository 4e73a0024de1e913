package output

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// maxRows bounds the page to what a browser can show; the rest is counted.
const maxRows = 20000

var (
	//go:embed report.html.tmpl
	htmlPage string
	//go:embed report.css
	htmlStyle string
	//go:embed report.js
	htmlScript string
)

// page is what the template sees. Everything that came from objects is a string,
// which the template escapes.
type page struct {
	Policy     string
	Style      template.CSS
	Script     template.JS
	Doc        *Document
	Score      string
	Counts     []htmlCount
	Severities []string
	Verdicts   []string
	Namespaces []string
	Controls   []string
	Frameworks []htmlFramework
	Rows       []htmlRow
	Left       int
	When       string
}

type htmlCount struct {
	Name string
	N    int
}

type htmlFramework struct {
	framework.Coverage
	Name string
	Rows []framework.Result
}

type htmlRow struct {
	Finding
	Why, Sev, Says, At, Subject, Text string
	References                        []string
	In                                string
}

// html writes one page that needs nothing else: no request leaves it, and its own
// script and style are the only ones that its policy lets run.
func html(w io.Writer, d *Document, _ Options) error {
	t, err := template.New("report").Parse(htmlPage)
	if err != nil {
		return fmt.Errorf("read the template: %w", err)
	}
	p := page{
		Policy: fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", digest(htmlStyle), digest(htmlScript)),
		Style:  template.CSS(htmlStyle), //nolint:gosec // G203: a file of ours
		Script: template.JS(htmlScript), //nolint:gosec // G203: a file of ours
		Doc:    d, When: d.Time.Format("2006-01-02 15:04 MST"), Score: "–",
		Severities: slices.Collect(names(severitiesDown())), Namespaces: namespaces(d),
		Verdicts: []string{"fail", "unknown", "excepted"},
	}
	if d.Summary.Score != nil {
		p.Score = fmt.Sprint(*d.Summary.Score)
	}
	for _, s := range p.Severities {
		p.Counts = append(p.Counts, htmlCount{s, d.Summary.Fail[s]})
	}
	p.Counts = append(p.Counts, htmlCount{"unknown", d.Summary.Unknown}, htmlCount{"excepted", d.Summary.Excepted})
	in := map[string][]string{}
	for i := range d.Frameworks {
		c := &d.Frameworks[i]
		p.Frameworks = append(p.Frameworks, htmlFramework{*c, or(c.Title, c.ID) + " " + c.Version, c.Results})
		for _, r := range c.Results {
			for _, k := range r.Controls {
				if !slices.Contains(in[k.ID], c.ID) {
					in[k.ID] = append(in[k.ID], c.ID)
				}
			}
		}
	}
	p.rows(d, in)
	var b strings.Builder
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	// The template escapes markup; characters that cannot be seen are shown here.
	_, err = io.WriteString(w, xmlLines(b.String()))
	return err
}

func (p *page) rows(d *Document, in map[string][]string) {
	meta := d.meta()
	for _, g := range groups(d, bulwark.VerdictFail, bulwark.VerdictUnknown, bulwark.VerdictExcepted) {
		p.Controls = append(p.Controls, plain(g.control))
		for _, f := range g.findings {
			if len(p.Rows) == maxRows {
				p.Left++
				continue
			}
			m := meta[g.control]
			p.Rows = append(p.Rows, htmlRow{
				Finding: *f, Why: m.Why, References: safeLinks(m.References), Sev: f.Severity.String(), Says: f.Verdict.String(),
				At: plain(place(f.Location.File, f.Location.Line)), Subject: subject(f.Object), Text: plain(or(f.Message, f.Reason)),
				In: " " + strings.Join(in[g.control], " ") + " ",
			})
		}
	}
	slices.Sort(p.Controls)
}

// safeLinks keeps what is an address of a page: user's controls may name anything.
func safeLinks(all []string) []string {
	var out []string
	for _, l := range all {
		if strings.HasPrefix(l, "https://") || strings.HasPrefix(l, "http://") {
			out = append(out, l)
		}
	}
	return out
}

func names(all []bulwark.Severity) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, s := range all {
			if !yield(s.String()) {
				return
			}
		}
	}
}

// digest is how a content security policy names an inline text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
