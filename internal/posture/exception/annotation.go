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
		e, err := readJSON(o.Raw())
		if err != nil {
			invalid = append(invalid, Invalid{o.ObjectRef, "", o.Locate(""), oneLine(err)})
			continue
		}
		e.Metadata.Namespace = o.Namespace
		e.at, e.own = o.Locate(""), true
		found = append(found, e)
	}
	var with []*inventory.Object
	for _, o := range snap.Objects() {
		if bytes.Contains(o.Raw(), []byte(Prefix)) {
			with = append(with, o)
		}
	}
	owners := map[string]*inventory.Object{}
	for _, o := range with {
		if o.UID != "" {
			owners[o.UID] = o
		}
	}
	for _, o := range with {
		f, i := annotations(o, owners[o.Owner])
		found, invalid = append(found, f...), append(invalid, i...)
	}
	return found, invalid
}

// readJSON reads an object. JSON is YAML but for a few ways to write a character,
// which are none that Go writes.
func readJSON(raw []byte) (*PostureException, error) {
	var v any
	err := json.Unmarshal(raw, &v)
	if err == nil {
		raw, err = json.Marshal(v)
	}
	if err != nil {
		return nil, fmt.Errorf("not a PostureException: %w", err)
	}
	return read(raw)
}

// annotations reads those of an object. Controllers hand annotations down, as a
// Deployment does to its ReplicaSets: what the owner says too is told of there.
func annotations(o, owner *inventory.Object) (found []*PostureException, invalid []Invalid) {
	above := map[string]any{}
	if owner != nil {
		above = annotated(owner)
	}
	for key, value := range annotated(o) {
		control, ok := strings.CutPrefix(key, Prefix)
		if !ok {
			continue
		}
		text, isText := value.(string)
		was, copied := above[key].(string)
		copied = copied && isText && was == text
		field := fmt.Sprintf("metadata.annotations[%q]", key)
		e, err := annotation(control, value)
		if err != nil {
			if !copied {
				invalid = append(invalid, Invalid{o.ObjectRef, field, o.Locate(field), oneLine(err)})
			}
			continue
		}
		e.on, e.at, e.copied = o, o.Locate(field), copied
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b *PostureException) int { return strings.Compare(a.Spec.Controls[0], b.Spec.Controls[0]) })
	slices.SortFunc(invalid, func(a, b Invalid) int { return strings.Compare(a.Field, b.Field) })
	return found, invalid
}

// annotated gives the annotations of an object. Of one that does not decode whoever
// judges it says so.
func annotated(o *inventory.Object) map[string]any {
	var head struct {
		Metadata struct {
			Annotations map[string]any `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(o.Raw(), &head) != nil {
		return nil
	}
	return head.Metadata.Annotations
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
