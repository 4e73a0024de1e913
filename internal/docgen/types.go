package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// structType is one object of the API.
type structType struct {
	name    string
	doc     string
	markers []string
	fields  []fieldType
}

// fieldType is one field of an object.
type fieldType struct {
	name    string // as in YAML; empty for an inlined struct
	typ     ast.Expr
	doc     string
	markers []string
}

// readTypes gives the struct types of the Go files in dir, by name. Tests and
// generated files do not count.
func readTypes(dir string) (map[string]*structType, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the sources: %w", err)
	}
	types := map[string]*structType{}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "zz_generated") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse a source: %w", err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				if t := readStruct(gen, spec); t != nil {
					types[t.name] = t
				}
			}
		}
	}
	return types, nil
}

func readStruct(gen *ast.GenDecl, spec ast.Spec) *structType {
	ts, ok := spec.(*ast.TypeSpec)
	if !ok {
		return nil
	}
	st, ok := ts.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	t := &structType{name: ts.Name.Name}
	t.doc, t.markers = comment(gen.Doc)
	for _, f := range st.Fields.List {
		ft := fieldType{typ: f.Type}
		if f.Tag != nil {
			ft.name = jsonName(f.Tag.Value)
		}
		ft.doc, ft.markers = comment(f.Doc)
		t.fields = append(t.fields, ft)
	}
	return t
}

// jsonName reads the name out of a struct tag.
func jsonName(tag string) string {
	text, err := strconv.Unquote(tag)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(text, `json:"`)
	value, _, _ := strings.Cut(rest, `"`)
	name, _, _ := strings.Cut(value, ",")
	return name
}

// comment splits a doc comment into prose, its paragraphs parted by empty
// lines, and markers, without their "+".
func comment(group *ast.CommentGroup) (doc string, markers []string) {
	var prose []string
	for line := range strings.SplitSeq(strings.TrimSpace(group.Text()), "\n") {
		if marker, ok := strings.CutPrefix(strings.TrimSpace(line), "+"); ok {
			markers = append(markers, marker)
		} else {
			prose = append(prose, line)
		}
	}
	return strings.TrimSpace(strings.Join(prose, "\n")), markers
}
