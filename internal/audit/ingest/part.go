package ingest

import (
	"errors"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
)

// part reads what a part of Bulwark tells of itself, as internal/audit/forward writes
// it. Of which part it is, and whatever else it says, is under more.part: whoever may
// send can say so, and only the source is bound to a token.
func (r *reader) part(e *audit.Event) error {
	e.Kind = audit.KindSystem
	known := []string{"time", "action", "outcome", "reason", "message"}
	err := r.members("", "part", known, func(key string) (err error) {
		switch key {
		case "time":
			e.StageAt, err = r.time("stageTimestamp")
		case "action":
			e.Verb, err = r.action()
		case "outcome":
			e.Status.Status, err = r.outcome()
		case "reason":
			e.Status.Reason, err = r.text()
		case "message":
			e.Status.Message, err = r.text()
		}
		return err
	})
	if err != nil {
		return err
	}
	if e.Verb == "" || e.Status.Status == "" {
		return errors.New("a part of Bulwark says neither what it did nor how it went")
	}
	return nil
}

// action reads what a part did. It is one of a few words, none of which the trail uses
// of itself: whoever may send cannot say that the disk is full, or that it was not.
func (r *reader) action() (string, error) {
	said, err := r.text()
	if err != nil {
		return "", err
	}
	if !slices.Contains([]string{"start", "stop", "drop", "log"}, said) {
		return "", errors.New("an action that parts of Bulwark do not tell of")
	}
	return said, nil
}

// outcome reads how it went, and says it as an API server does.
func (r *reader) outcome() (string, error) {
	said, err := r.text()
	if err != nil {
		return "", err
	}
	switch said {
	case "success":
		return "Success", nil
	case "failure":
		return "Failure", nil
	}
	return "", errors.New("an outcome that is neither success nor failure")
}
