package ingest

import (
	"errors"
	"slices"
	"strings"
)

// cloudWatch reads a batch of CloudWatch Logs, as EKS sends its audit log: what a
// subscription delivers, or what the command line prints. Each message is an event,
// written as JSON text.
func (r *reader) cloudWatch() error {
	from := r.Offset()
	control, cluster, room := false, "", maxSaid
	var said []extra
	err := r.Object(func(name []byte) (err error) {
		switch key := string(name); key {
		case "logEvents", "events", "subscriptionFilters":
			return r.Skip()
		default:
			x := extra{group: "aws", name: key}
			if x.value, err = r.keep(&room, key); err != nil || x.value == nil {
				return err
			}
			if key == "messageType" {
				control = string(x.value) == `"CONTROL_MESSAGE"`
				return nil
			}
			if key == "logGroup" { // "/aws/eks/NAME/cluster"
				group := strings.Trim(string(x.value), `"`)
				if name, ok := strings.CutSuffix(group, "/cluster"); ok {
					cluster, _ = strings.CutPrefix(name, "/aws/eks/")
				}
			}
			said = append(said, x)
			return nil
		}
	})
	if err != nil || control { // a control message asks whether someone is there
		return err
	}
	r.Seek(from)
	return r.enveloped(cluster, said, func() error {
		var seen names
		return r.Object(func(name []byte) error {
			if string(name) != "logEvents" && string(name) != "events" {
				return r.Skip()
			}
			if err := seen.take(0); err != nil {
				return err
			}
			return r.Array(func() error { return r.attempt(r.message) })
		})
	})
}

// message reads one of a batch's messages.
func (r *reader) message() error {
	var seen names
	err := r.Object(func(name []byte) error {
		if string(name) != "message" {
			return r.Skip()
		}
		if err := seen.take(0); err != nil {
			return err
		}
		return r.embedded(r.any)
	})
	if err == nil && seen == 0 {
		err = errors.New("a log event without a message")
	}
	return err
}

// azure reads one record of Azure's diagnostics, as AKS sends its audit log: the event
// stands in properties.log, as JSON text or as an object.
func (r *reader) azure() error {
	from := r.Offset()
	cluster, room := "", maxSaid
	var said []extra
	err := r.Object(func(name []byte) (err error) {
		key := string(name)
		if key == "properties" && r.Next() == '{' {
			return r.Object(func(name []byte) (err error) {
				if string(name) == "log" {
					return r.Skip()
				}
				key := "properties." + string(name)
				x := extra{group: "azure", name: key}
				if x.value, err = r.keep(&room, key); err == nil && x.value != nil {
					said = append(said, x)
				}
				return err
			})
		}
		x := extra{group: "azure", name: key}
		if x.value, err = r.keep(&room, key); err != nil || x.value == nil {
			return err
		}
		if key == "resourceId" { // ".../managedClusters/NAME"
			id := strings.Trim(string(x.value), `"`)
			if i := strings.LastIndexByte(id, '/'); i >= 0 && strings.HasSuffix(strings.ToLower(id[:i]), "/managedclusters") {
				cluster = id[i+1:]
			}
		}
		said = append(said, x)
		return nil
	})
	if err != nil {
		return err
	}
	r.Seek(from)
	return r.enveloped(cluster, said, func() error {
		var seen names
		err := r.within2("properties", "log", func() error {
			if err := seen.take(0); err != nil {
				return err
			}
			return r.embedded(r.any)
		})
		if err == nil && seen == 0 {
			err = errors.New("a record without properties.log")
		}
		return err
	})
}

// within2 calls read at the member inner of the member outer.
func (r *reader) within2(outer, inner string, read func() error) error {
	return r.Object(func(name []byte) error {
		if string(name) != outer {
			return r.Skip()
		}
		return r.Object(func(name []byte) error {
			if string(name) != inner {
				return r.Skip()
			}
			return read()
		})
	})
}

// keep reads a value that an envelope says under a name: canonical, or nil where it says
// nothing. In place of what cannot be kept it says why, as long as there is room.
func (r *reader) keep(room *int, name string) ([]byte, error) {
	r.Next()
	from := r.Offset()
	value, err := r.AppendValue(nil)
	switch {
	case err != nil:
		r.Seek(from)
		value, err = appendText(nil, "dropped: "+err.Error()), r.Skip()
	case string(value) == "null":
		return nil, nil
	case len(value) > maxSaid/2:
		value = appendText(nil, "dropped: it is too large")
	}
	if *room -= len(name) + len(value); *room < 0 {
		return nil, err
	}
	return value, err
}

// enveloped reads events while what their envelope said goes into each.
func (r *reader) enveloped(cluster string, said []extra, read func() error) error {
	envelope, name := r.envelope, r.cluster
	defer func() { r.envelope, r.cluster = envelope, name }()
	r.envelope = append(slices.Clip(r.envelope), said...)
	if r.cluster == "" {
		r.cluster = cluster
	}
	return read()
}
