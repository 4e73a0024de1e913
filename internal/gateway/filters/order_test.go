package filters

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestEveryStepIsInOrder reads the package's source: whatever judges requests
// must be made by a constructor that order.go lists, once.
func TestEveryStepIsInOrder(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	makers := map[string]string{}  // constructor → file
	steps := map[string][]string{} // file → types with a request method
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "order.go" {
			ast.Inspect(file, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "new") {
					listed[id.Name]++
				}
				return true
			})
			continue
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			switch {
			case fn.Recv != nil && fn.Name.Name == "request":
				steps[f.Name()] = append(steps[f.Name()], "a step")
			case fn.Recv == nil && givesStep(fn):
				makers[fn.Name.Name] = f.Name()
			}
		}
	}
	if len(listed) == 0 || len(listed) != len(order) {
		t.Errorf("order.go names %d constructors, order holds %d", len(listed), len(order))
	}
	names := map[string]bool{}
	for _, o := range order {
		if names[o.name] {
			t.Errorf("order holds %s twice", o.name)
		}
		names[o.name] = true
	}
	made := map[string]int{}
	for maker, file := range makers {
		made[file]++
		if listed[maker] != 1 {
			t.Errorf("%s: %s is listed %d times in order.go", file, maker, listed[maker])
		}
	}
	for maker := range listed {
		if makers[maker] == "" {
			t.Errorf("order.go lists %s, which is nowhere", maker)
		}
	}
	for file, types := range steps {
		if made[file] == 0 {
			t.Errorf("%s holds %d steps and no constructor for order.go", file, len(types))
		}
	}
}

// givesStep reports whether fn's first result is a step.
func givesStep(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil {
		return false
	}
	id, ok := fn.Type.Results.List[0].Type.(*ast.Ident)
	return ok && id.Name == "step"
}
