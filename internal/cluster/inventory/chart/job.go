package chart

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"

	helm "helm.sh/helm/v3/pkg/chart"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// job is all that runs what a chart's author wrote.
type job struct {
	Path   string
	Opt    Options // but for Apart, which is not sent
	Files  []sent
	Values []ValuesFile
	Over   []byte // JSON, or nothing
}

// sent is a file as it is sent.
type sent struct {
	Name, Path string
	Text       []byte
	Plain      bool
}

// made is what comes of a job.
type made struct {
	Templates []printed // all of them, in the order of templates
	CRDs      []printed
	Problems  []inventory.Problem
}

// printed is one file and what was made of it.
type printed struct {
	Key, Path      string
	Template, Text []byte
}

func (m *made) templates() []template {
	out := make([]template, 0, len(m.Templates))
	for _, p := range m.Templates {
		out = append(out, template{key: p.Key, path: p.Path, file: &helm.File{Data: p.Template}})
	}
	return out
}

// made has the templates run, apart where that was asked for.
func (c *Chart) made(over map[string]any) (*made, error) {
	// As in a values file: there are no whole numbers in what templates see.
	text, err := json.Marshal(over)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	if c.opt.Apart == nil {
		return c.printWith(text)
	}
	j := job{Path: c.path, Opt: c.opt, Values: c.values, Over: text}
	for _, f := range c.files {
		j.Files = append(j.Files, sent{Name: f.name, Path: f.path, Text: f.text, Plain: f.plain})
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(j); err != nil {
		return nil, fmt.Errorf("hand it on: %w", err)
	}
	answer, err := c.opt.Apart(out.Bytes())
	if err != nil {
		return nil, err
	}
	m := &made{}
	if err := gob.NewDecoder(bytes.NewReader(answer)).Decode(m); err != nil {
		return nil, fmt.Errorf("take it back: %w", err)
	}
	return m, nil
}

func (c *Chart) printWith(text []byte) (*made, error) {
	var over map[string]any
	if err := json.Unmarshal(text, &over); err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	return c.print(over), nil
}

// Work does a job that Options.Apart was given, and gives what that is to give.
func Work(text []byte) ([]byte, error) {
	var j job
	if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&j); err != nil {
		return nil, fmt.Errorf("read the job of a chart: %w", err)
	}
	c := &Chart{path: j.Path, opt: j.Opt, values: j.Values}
	for _, f := range j.Files {
		c.files = append(c.files, file{name: f.Name, path: f.Path, text: f.Text, plain: f.Plain})
	}
	m, err := c.printWith(j.Over)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(m); err != nil {
		return nil, fmt.Errorf("give back a chart: %w", err)
	}
	return out.Bytes(), nil
}
