package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// ParseCanonical reads what AppendCanonical wrote, and nothing else: appending the
// event gives the same bytes again. The event shares no memory with b.
func ParseCanonical(b []byte) (*Event, error) { return new(parser).parse(b) }

// Parser reads many events faster than ParseCanonical: it keeps memory and remembers
// texts. It is for one goroutine.
type Parser struct{ p parser }

// NewParser makes a Parser.
func NewParser() *Parser { return &Parser{parser{words: NewWords()}} }

// Parse does what ParseCanonical does.
func (p *Parser) Parse(b []byte) (*Event, error) { return p.p.parse(b) }

// ParseKnown reads bytes of which the caller knows that AppendCanonical wrote them, or
// sees to it later: it does not compare. Other bytes may give an event all the same.
func (p *Parser) ParseKnown(b []byte) (*Event, error) { return p.p.read(b) }

// ReadKnown is ParseKnown into e, for who is done with an event before it reads the next:
// what e holds is in the Parser's memory, or in b, and is overwritten by the next call. Texts
// may be kept.
func (p *Parser) ReadKnown(b []byte, e *Event) error {
	p.p.spare.begin()
	defer p.p.spare.end()
	return p.p.readInto(b, e)
}

type parser struct {
	Cursor
	words  *Words // nil when only one event is to be read
	buffer []byte
	spare  spare
}

// spare is memory that events are made in one after the other. While it is not in use,
// each event gets its own.
type spare struct {
	used        bool
	texts       []string
	annotations map[string]string
	extras      [2]map[string][]string // of the user and of whom they acted as
	extra       int                    // how many of them are in use
	as          User
	redactions  []Redaction
}

func (s *spare) begin() { s.used, s.texts, s.extra = true, s.texts[:0], 0 }

func (s *spare) end() { s.used = false }

func (s *spare) newAnnotations() map[string]string {
	if !s.used {
		return make(map[string]string)
	}
	if s.annotations == nil {
		s.annotations = make(map[string]string)
	}
	clear(s.annotations)
	return s.annotations
}

func (s *spare) newExtra() map[string][]string {
	if !s.used || s.extra == len(s.extras) { // a member may stand there twice
		return make(map[string][]string)
	}
	m := &s.extras[s.extra]
	s.extra++
	if *m == nil {
		*m = make(map[string][]string)
	}
	clear(*m)
	return *m
}

func (s *spare) newUser() *User {
	if !s.used {
		return new(User)
	}
	s.as = User{}
	return &s.as
}

// clone gives a list memory of its own.
func (s *spare) clone(list []string) []string {
	if !s.used {
		return slices.Clone(list)
	}
	from := len(s.texts)
	s.texts = append(s.texts, list...)
	return s.texts[from:len(s.texts):len(s.texts)]
}

func (p *parser) parse(b []byte) (*Event, error) {
	e, err := p.read(b)
	if err != nil {
		return nil, err
	}
	// The reading takes members in any order, white space, and all that JSON leaves free.
	// One comparison settles it.
	p.buffer = AppendCanonical(slices.Grow(p.buffer[:0], len(b)+1), e)
	if !bytes.Equal(p.buffer, b) {
		return nil, errors.New("parse an event's canonical form: it is another spelling of an event")
	}
	return e, nil
}

func (p *parser) read(b []byte) (*Event, error) {
	e := new(Event)
	if err := p.readInto(b, e); err != nil {
		return nil, err
	}
	return e, nil
}

func (p *parser) readInto(b []byte, e *Event) error {
	p.Reset(b)
	*e = Event{}
	if p.spare.used {
		e.Redactions = p.spare.redactions[:0]
	}
	err := p.event(e)
	if p.spare.used {
		p.spare.redactions = e.Redactions
	}
	if err == nil {
		err = p.End()
	}
	p.Reset(nil)
	if err != nil {
		return fmt.Errorf("parse an event's canonical form: %w", err)
	}
	if !slices.Contains(Kinds(), e.Kind) {
		return fmt.Errorf("parse an event's canonical form: %.40q is no kind of event", e.Kind)
	}
	return nil
}

func (p *parser) event(e *Event) error {
	return p.Object(func(name []byte) (err error) {
		switch string(name) {
		case "kind":
			var kind string
			kind, err = p.string()
			e.Kind = Kind(kind)
		case "source":
			e.Source, err = p.string()
		case "cluster":
			e.Cluster, err = p.string()
		case "received":
			e.Received, err = p.time()
		case "auditID":
			e.AuditID, err = p.single()
		case "level":
			e.Level, err = p.string()
		case "stage":
			e.Stage, err = p.string()
		case "requestURI":
			e.RequestURI, err = p.single()
		case "verb":
			e.Verb, err = p.string()
		case "saidVerb":
			e.SaidVerb, err = p.string()
		case "user":
			err = p.user(&e.User)
		case "impersonatedUser":
			e.Impersonated = p.spare.newUser()
			err = p.user(e.Impersonated)
		case "sourceIPs":
			e.SourceIPs, err = p.strings()
		case "userAgent":
			e.UserAgent, err = p.string()
		case "objectRef":
			err = p.object(&e.Object)
		case "responseStatus":
			err = p.status(&e.Status)
		case "requestObject":
			e.RequestObject, err = p.body()
		case "responseObject":
			e.ResponseObject, err = p.body()
		case "requestReceivedTimestamp":
			e.RequestReceived, err = p.time()
		case "stageTimestamp":
			e.StageAt, err = p.time()
		case "annotations":
			e.Annotations = p.spare.newAnnotations()
			err = p.Object(func(name []byte) (err error) {
				key := p.key(name)
				e.Annotations[key], err = p.string()
				return err
			})
		case "redactions":
			err = p.Array(func() error { return p.redaction(e) })
		case "more":
			e.More, err = p.body()
		default:
			return unknown(name)
		}
		return err
	})
}

func unknown(name []byte) error {
	return fmt.Errorf("%.40q is no member of it", name)
}

// string reads a string that is likely to come again.
func (p *parser) string() (string, error) {
	s, err := p.String()
	if err != nil || p.words == nil {
		return string(s), err
	}
	return p.words.Text(s), nil
}

// single reads a string that is not likely to come again.
func (p *parser) single() (string, error) {
	s, err := p.String()
	return string(s), err
}

func (p *parser) key(name []byte) string {
	if p.words == nil {
		return string(name)
	}
	return p.words.Text(name)
}

func (p *parser) strings() ([]string, error) {
	var room [8]string
	list := room[:0]
	err := p.Array(func() error {
		s, err := p.string()
		list = append(list, s)
		return err
	})
	return p.spare.clone(list), err
}

func (p *parser) time() (time.Time, error) {
	s, err := p.String()
	if err != nil {
		return time.Time{}, err
	}
	return ParseTime(s)
}

// ParseTime reads an RFC 3339 time and gives it in UTC, in whole microseconds.
func ParseTime(text []byte) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText(text); err != nil {
		return t, fmt.Errorf("%.40q is no RFC 3339 time", text)
	}
	t = t.UTC().Truncate(time.Microsecond)
	if y := t.Year(); y < 0 || y > 9999 {
		return t, fmt.Errorf("%.40q is no year from 0 to 9999 in UTC", text)
	}
	return t, nil
}

func (p *parser) body() (json.RawMessage, error) {
	raw, err := p.Raw()
	if p.spare.used {
		return raw, err
	}
	return bytes.Clone(raw), err
}

func (p *parser) user(u *User) error {
	return p.Object(func(name []byte) (err error) {
		switch string(name) {
		case "username":
			u.Username, err = p.string()
		case "uid":
			u.UID, err = p.string()
		case "groups":
			u.Groups, err = p.strings()
		case "extra":
			u.Extra = p.spare.newExtra()
			err = p.Object(func(name []byte) (err error) {
				key := p.key(name)
				u.Extra[key], err = p.strings()
				return err
			})
		default:
			return unknown(name)
		}
		return err
	})
}

func (p *parser) object(o *ObjectRef) error {
	return p.Object(func(name []byte) (err error) {
		var into *string
		switch string(name) {
		case "apiGroup":
			into = &o.APIGroup
		case "apiVersion":
			into = &o.APIVersion
		case "resource":
			into = &o.Resource
		case "subresource":
			into = &o.Subresource
		case "namespace":
			into = &o.Namespace
		case "name":
			into = &o.Name
		case "uid":
			into = &o.UID
		case "resourceVersion":
			into = &o.ResourceVersion
		default:
			return unknown(name)
		}
		*into, err = p.string()
		return err
	})
}

func (p *parser) status(s *Status) error {
	return p.Object(func(name []byte) (err error) {
		switch string(name) {
		case "code":
			var text []byte
			if text, err = p.Number(); err == nil {
				var code int64
				code, err = strconv.ParseInt(string(text), 10, 32)
				s.Code = int32(code)
			}
		case "status":
			s.Status, err = p.string()
		case "reason":
			s.Reason, err = p.string()
		case "message":
			s.Message, err = p.string()
		default:
			return unknown(name)
		}
		return err
	})
}

func (p *parser) redaction(e *Event) error {
	var r Redaction
	err := p.Object(func(name []byte) (err error) {
		switch string(name) {
		case "path":
			r.Path, err = p.string()
		case "commitment":
			r.Commitment, err = p.string()
		default:
			return unknown(name)
		}
		return err
	})
	e.Redactions = append(e.Redactions, r)
	return err
}
