package segment

import (
	"errors"
	"fmt"
	"strings"
)

// origin says how a field's values come from columns.
type origin int

const (
	fromColumn  origin = iota + 1 // one column with a dictionary
	fromActor                     // the impersonated user's column where there is one, else the user's
	fromAuditID                   // the UUID, or the text beside it
	fromVersion                   // the resource version's number, or the text beside it
	fromOutcome                   // decision, code and status
)

// source is a resolved field.
type source struct {
	origin origin
	column columnID
	// as is the impersonated user's column of fromActor.
	as columnID
	// split gives the values that one dictionary text stands for; nil when the text is the
	// value.
	split func(text string) ([]string, error)
}

// The beginnings of fields that are keys of a map.
const (
	inAnnotations = "annotations."
	inExtra       = "user.extra."
	inAsExtra     = "impersonatedUser.extra."
)

// resolve finds where a field comes from.
func resolve(field string) (source, error) {
	for id, spec := range columnSpecs() {
		if spec.field == field && field != "" {
			return source{origin: fromColumn, column: columnID(id)}, nil
		}
	}
	switch field {
	case "auditID":
		return source{origin: fromAuditID}, nil
	case "objectRef.resourceVersion":
		return source{origin: fromVersion}, nil
	case "user.groups":
		return source{origin: fromColumn, column: colGroups, split: parseList}, nil
	case "impersonatedUser.groups":
		return source{origin: fromColumn, column: colAsGroups, split: parseList}, nil
	case "sourceIPs":
		return source{origin: fromColumn, column: colSourceIPs, split: parseList}, nil
	case "actor.username":
		return source{origin: fromActor, column: colUsername, as: colAsUsername}, nil
	case "actor.groups":
		return source{origin: fromActor, column: colGroups, as: colAsGroups, split: parseList}, nil
	case "succeeded":
		return source{origin: fromOutcome}, nil
	}
	if key, ok := strings.CutPrefix(field, inAnnotations); ok && key != "" {
		return source{origin: fromColumn, column: colAnnotations, split: func(text string) ([]string, error) {
			m, err := parseTexts(text)
			if value := m[key]; value != "" {
				return []string{value}, err
			}
			return nil, err
		}}, nil
	}
	for prefix, id := range map[string]columnID{inExtra: colExtra, inAsExtra: colAsExtra} {
		if key, ok := strings.CutPrefix(field, prefix); ok && key != "" {
			return source{origin: fromColumn, column: id, split: func(text string) ([]string, error) {
				m, err := parseLists(text)
				return m[key], err
			}}, nil
		}
	}
	return source{}, fmt.Errorf("no column of a segment decides the field %q", field)
}

// values are the values of one dictionary text.
func (s *source) values(text string) ([]string, error) {
	if s.split == nil {
		if text == "" {
			return nil, nil
		}
		return []string{text}, nil
	}
	list, err := s.split(text)
	if err != nil {
		err = errors.Join(ErrFormat, err)
	}
	return list, err
}
