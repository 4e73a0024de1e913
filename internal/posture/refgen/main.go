// Command refgen writes the reference of the controls from the catalog and the
// code, and that of "bulwark scan -o json" from its schema.
//
// Usage: refgen -controls FILE -json FILE
package main

//go:generate go run . -controls ../../../docs/reference/controls.md -json ../../../docs/reference/scan-json.md

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		panic(err) // go generate needs an exit code, and only cmd/bulwark may exit
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("refgen", flag.ContinueOnError)
	controls := flags.String("controls", "", "the file for the controls")
	scan := flags.String("json", "", "the file for the form of the JSON")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	if *controls == "" || *scan == "" {
		return errors.New("usage: refgen -controls FILE -json FILE")
	}
	all, err := gather()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	renderControls(&b, all)
	if err := write(*controls, b.Bytes()); err != nil {
		return err
	}
	b.Reset()
	if err := renderSchema(&b); err != nil {
		return err
	}
	return write(*scan, b.Bytes())
}

func write(name string, text []byte) error {
	if err := os.WriteFile(name, text, 0o644); err != nil { //nolint:gosec // documentation, readable like the sources
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}
