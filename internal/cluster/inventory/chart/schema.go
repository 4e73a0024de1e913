package chart

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	helm "helm.sh/helm/v3/pkg/chart"
)

// refuse loads nothing: a schema that points elsewhere would have a scan open
// files or addresses that a chart's author chose.
type refuse struct{}

// Load refuses.
func (refuse) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s, and nothing outside of it is read", url)
}

// violation is what a schema says against the values of its chart.
type violation struct{ chart, what string }

// violations checks the values of a chart and its subcharts against their
// schemas.
func violations(c *helm.Chart, values map[string]any) []violation {
	var out []violation
	if c.Schema != nil {
		if err := meets(c.Schema, values); err != nil {
			out = append(out, violation{c.ChartFullPath(), err.Error()})
		}
	}
	for _, d := range c.Dependencies() {
		if sub, ok := values[d.Name()].(map[string]any); ok {
			out = append(out, violations(d, sub)...)
		}
	}
	return out
}

func meets(text []byte, values map[string]any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the schema cannot be used: %v", r)
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("the schema is no JSON: %w", err)
	}
	const name = "file:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(refuse{})
	if err := compiler.AddResource(name, doc); err != nil {
		return fmt.Errorf("the schema cannot be used: %w", err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		return fmt.Errorf("the schema cannot be used: %w", err)
	}
	var bad *jsonschema.ValidationError
	if err := schema.Validate(plain(values)); errors.As(err, &bad) {
		return errors.New(strings.Join(told(bad, nil), "; "))
	} else if err != nil {
		return err
	}
	return nil
}

// told gives the values that a schema refuses, each once, and not what they are:
// it may be a password.
func told(e *jsonschema.ValidationError, out []string) []string {
	if len(e.Causes) == 0 {
		at := "/" + path.Join(e.InstanceLocation...)
		rule := strings.Join(e.ErrorKind.KeywordPath(), "/")
		return append(out, fmt.Sprintf("%s does not meet %q", at, rule))
	}
	for _, c := range e.Causes {
		if len(out) >= 10 {
			break
		}
		out = told(c, out)
	}
	return out
}

// plain turns Helm's own map types into those that the validator knows.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case interface{ AsMap() map[string]any }:
		return plain(v.AsMap())
	default:
		return v
	}
}
