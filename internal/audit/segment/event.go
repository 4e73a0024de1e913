package segment

import (
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// has reports whether row i has a value.
func (c *column) has(i int) bool {
	switch {
	case c.spec.shape == shapeText || c.spec.shape == shapeSmall:
		return c.code(i) != 0
	case c.ints != nil:
		return c.ints[i] != absent
	case c.ends != nil:
		return c.blob(i) != nil
	}
	return c.fixed(i) != nil
}

// text is a dictionary text of row i, or "".
func (c *column) text(i int) string {
	if c.codes == nil || c.codes[i] == 0 {
		return ""
	}
	return c.dict[c.codes[i]-1]
}

func (c *column) code(i int) uint32 {
	if c.codes == nil {
		return 0
	}
	return c.codes[i]
}

func (c *column) integer(i int) int64 {
	if c.ints == nil {
		return absent
	}
	return c.ints[i]
}

func (c *column) instant(i int) time.Time {
	if v := c.integer(i); v != absent {
		return time.UnixMicro(v).UTC()
	}
	return time.Time{}
}

func (c *column) fixed(i int) []byte {
	if c.data == nil || c.present != nil && c.present[i] == 0 {
		return nil
	}
	return c.data[i*c.spec.size : (i+1)*c.spec.size]
}

func (c *column) blob(i int) []byte {
	if c.ends == nil {
		return nil
	}
	var start uint32
	if i > 0 {
		start = c.ends[i-1]
	}
	if start == c.ends[i] {
		return nil
	}
	return c.blobs[start:c.ends[i]]
}

// parsed are the values of a dictionary of JSON, parsed all at once when one is needed.
// They are shared between events, which nobody changes.
type parsed[T any] struct {
	once   sync.Once
	values []T
	err    error
}

func (p *parsed[T]) get(dict []string, code uint32, parse func(string) (T, error)) (T, error) {
	var zero T
	if code == 0 {
		return zero, nil
	}
	p.once.Do(func() {
		p.values = make([]T, len(dict))
		for i, text := range dict {
			value, err := parse(text)
			if err != nil {
				p.err = errors.Join(ErrFormat, err)
				return
			}
			p.values[i] = value
		}
	})
	if p.err != nil {
		return zero, p.err
	}
	return p.values[code-1], nil
}

func (c *column) list(i int) ([]string, error) {
	return c.lists.get(c.dict, c.code(i), parseList)
}

func (c *column) extra(i int) (map[string][]string, error) {
	return c.maps.get(c.dict, c.code(i), parseLists)
}

// event rebuilds the event of row i in e.
func (g *rowGroup) event(i int, e *audit.Event) error {
	c := &g.columns
	*e = audit.Event{
		Kind:            audit.Kind(c[colKind].text(i)),
		Source:          c[colSource].text(i),
		Cluster:         c[colCluster].text(i),
		Received:        c[colReceived].instant(i),
		StageAt:         c[colStageAt].instant(i),
		RequestReceived: c[colRequestReceived].instant(i),
		AuditID:         g.auditID(i),
		Level:           c[colLevel].text(i),
		Stage:           c[colStage].text(i),
		Verb:            c[colVerb].text(i),
		SaidVerb:        c[colSaidVerb].text(i),
		RequestURI:      c[colRequestURI].text(i),
		User:            audit.User{Username: c[colUsername].text(i), UID: c[colUID].text(i)},
		UserAgent:       c[colUserAgent].text(i),
		Object: audit.ObjectRef{
			APIGroup:        c[colAPIGroup].text(i),
			APIVersion:      c[colAPIVersion].text(i),
			Resource:        c[colResource].text(i),
			Subresource:     c[colSubresource].text(i),
			Namespace:       c[colNamespace].text(i),
			Name:            c[colName].text(i),
			UID:             c[colObjectUID].text(i),
			ResourceVersion: g.resourceVersion(i),
		},
		Status: audit.Status{
			Status:  c[colStatus].text(i),
			Reason:  c[colReason].text(i),
			Message: c[colMessage].text(i),
		},
		RequestObject:  body(c[colRequestObject].blob(i)),
		ResponseObject: body(c[colResponseObject].blob(i)),
		More:           body(c[colMore].blob(i)),
	}
	if text := c[colCode].text(i); text != "" {
		code, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return broken("code %q", text)
		}
		e.Status.Code = int32(code)
	}
	var err error
	if e.User.Groups, err = c[colGroups].list(i); err != nil {
		return err
	}
	if e.User.Extra, err = c[colExtra].extra(i); err != nil {
		return err
	}
	if e.SourceIPs, err = c[colSourceIPs].list(i); err != nil {
		return err
	}
	if c[colAsUsername].code(i) != 0 {
		as := &audit.User{Username: c[colAsUsername].text(i), UID: c[colAsUID].text(i)}
		if as.Groups, err = c[colAsGroups].list(i); err != nil {
			return err
		}
		if as.Extra, err = c[colAsExtra].extra(i); err != nil {
			return err
		}
		e.Impersonated = as
	}
	if e.Annotations, err = g.annotationsOf(i); err != nil {
		return err
	}
	if text := c[colRedactions].blob(i); text != nil {
		if e.Redactions, err = parseRedactions(string(text)); err != nil {
			return errors.Join(ErrFormat, err)
		}
	}
	return nil
}

// body copies, so that an event does not keep a page of other events' bodies.
func body(text []byte) json.RawMessage {
	if text == nil {
		return nil
	}
	return append(json.RawMessage(nil), text...)
}

func (g *rowGroup) auditID(i int) string {
	if id := g.columns[colAuditID].fixed(i); id != nil {
		return formatUUID(id)
	}
	return g.columns[colAuditIDText].text(i)
}

func (g *rowGroup) resourceVersion(i int) string {
	if v := g.columns[colResourceVersion].integer(i); v != absent {
		return strconv.FormatInt(v, 10)
	}
	return g.columns[colResourceVersionText].text(i)
}

// annotationsOf shares one map between all events with the same annotations.
func (g *rowGroup) annotationsOf(i int) (map[string]string, error) {
	decision, reason, rest := &g.columns[colDecision], &g.columns[colDecisionReason], &g.columns[colAnnotations]
	key := [3]uint32{decision.code(i), reason.code(i), rest.code(i)}
	if key == [3]uint32{} {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m, ok := g.annotations[key]; ok {
		return m, nil
	}
	m := map[string]string{}
	if key[2] != 0 {
		var err error
		if m, err = parseTexts(rest.text(i)); err != nil {
			return nil, errors.Join(ErrFormat, err)
		}
	}
	if key[0] != 0 {
		m[keyDecision] = decision.text(i)
	}
	if key[1] != 0 {
		m[keyDecisionReason] = reason.text(i)
	}
	if g.annotations == nil {
		g.annotations = map[[3]uint32]map[string]string{}
	}
	g.annotations[key] = m
	return m, nil
}
