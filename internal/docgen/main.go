// Command docgen writes the reference of the policy objects from the doc
// comments and validation markers of their Go types.
//
// Usage: docgen -out FILE DIR
package main

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
	flags := flag.NewFlagSet("docgen", flag.ContinueOnError)
	out := flags.String("out", "", "the file to write")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	if *out == "" || flags.NArg() != 1 {
		return errors.New("usage: docgen -out FILE DIR")
	}
	types, err := readTypes(flags.Arg(0))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := render(&b, types, "SecurityPolicy"); err != nil {
		return err
	}
	if err := os.WriteFile(*out, b.Bytes(), 0o644); err != nil { //nolint:gosec // documentation, readable like the sources
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}
