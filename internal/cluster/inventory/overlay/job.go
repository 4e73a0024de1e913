package overlay

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// job is a folder to build.
type job struct {
	Dir, Abs string
	Over     map[string][]byte
}

// made is what comes of it: a failure, or the rest.
type made struct {
	Failure  *inventory.Problem
	Objects  []printed
	Problems []inventory.Problem // of single objects
	Read     map[string][]byte
}

// printed is one object and the file that it came from, relative to the folder and
// "" where that is not known.
type printed struct {
	Text []byte
	From string
}

// made has the folder built, apart where that was asked for.
func (o *Overlay) made() (*made, error) {
	if o.apart == nil {
		return o.print(), nil
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(job{Dir: o.dir, Abs: o.abs, Over: o.over}); err != nil {
		return nil, fmt.Errorf("hand it on: %w", err)
	}
	answer, err := o.apart(out.Bytes())
	if err != nil {
		return nil, err
	}
	m := &made{}
	if err := gob.NewDecoder(bytes.NewReader(answer)).Decode(m); err != nil {
		return nil, fmt.Errorf("take it back: %w", err)
	}
	return m, nil
}

// Work does a job that the function of Apart was given, and gives what that is to
// give.
func Work(text []byte) ([]byte, error) {
	var j job
	if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&j); err != nil {
		return nil, fmt.Errorf("read the job of an overlay: %w", err)
	}
	o := &Overlay{dir: j.Dir, abs: j.Abs, over: j.Over}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(o.print()); err != nil {
		return nil, fmt.Errorf("give back an overlay: %w", err)
	}
	return out.Bytes(), nil
}
