package exception

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Invalid is an exception in an object that could not be read, and so covers
// nothing.
type Invalid struct {
	Object   bulwark.ObjectRef
	Field    string
	Location bulwark.Location
	What     string
}

// Find gives the exceptions that the objects of a snapshot hold: objects of kind
// PostureException, which cover their own namespace only, and annotations, which
// cover the object that has them.
func Find(snap *inventory.Snapshot) (found []*PostureException, invalid []Invalid) {
	for _, o := range snap.Kind("bulwark.dev", Kind) {
		e, err := read(o.Raw()) // JSON is YAML
		if err == nil && o.Namespace != "" {
			e.Metadata.Namespace = o.Namespace
		}
		if err != nil {
			invalid = append(invalid, Invalid{o.ObjectRef, "", o.Locate(""), oneLine(err)})
			continue
		}
		e.at = o.Locate("")
		found = append(found, e)
	}
	for _, o := range snap.Objects() {
		if !bytes.Contains(o.Raw(), []byte(Prefix)) {
			continue
		}
		f, i := annotations(o)
		found, invalid = append(found, f...), append(invalid, i...)
	}
	return found, invalid
}

func annotations(o *inventory.Object) (found []*PostureException, invalid []Invalid) {
	var head struct {
		Metadata struct {
			Annotations map[string]any `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(o.Raw(), &head) != nil {
		return nil, nil // whoever judges it says so
	}
	for key, value := range head.Metadata.Annotations {
		control, ok := strings.CutPrefix(key, Prefix)
		if !ok {
			continue
		}
		field := fmt.Sprintf("metadata.annotations[%q]", key)
		e, err := annotation(control, value)
		if err != nil {
			invalid = append(invalid, Invalid{o.ObjectRef, field, o.Locate(field), oneLine(err)})
			continue
		}
		e.on, e.at = &o.ObjectRef, o.Locate(field)
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b *PostureException) int { return strings.Compare(a.Spec.Controls[0], b.Spec.Controls[0]) })
	slices.SortFunc(invalid, func(a, b Invalid) int { return strings.Compare(a.Field, b.Field) })
	return found, invalid
}

// annotation reads "owner; until 2027-01-31; reason".
func annotation(control string, value any) (*PostureException, error) {
	text, _ := value.(string)
	parts := strings.SplitN(text, ";", 3)
	if control == "" || len(parts) != 3 {
		return nil, errors.New(`expected "owner; until 2027-01-31; reason" for a control that is named in the key`)
	}
	until, ok := strings.CutPrefix(strings.TrimSpace(parts[1]), "until ")
	if !ok {
		return nil, errors.New(`the second part should be "until" and a day, as "until 2027-01-31"`)
	}
	e := &PostureException{Spec: Spec{
		Controls: []string{control}, Owner: strings.TrimSpace(parts[0]),
		Reason: strings.TrimSpace(parts[2]), Expires: strings.TrimSpace(until),
	}}
	return e, e.answerable()
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
