package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

const (
	// maxObject is how large one object may be, as of one in a file. What etcd takes is
	// far less.
	maxObject = 16 << 20
	// restarts is how often a list begins again because the server forgot where it
	// was.
	restarts = 3
	// maxEmpty is how many pages without an object may follow each other.
	maxEmpty = 100
)

var (
	// errTooMuch is for answers that are larger than a cluster can be.
	errTooMuch  = errors.New("too much")
	errLong     = fmt.Errorf("%w: an object has more than %d bytes", errTooMuch, maxObject)
	errNotAList = errors.New("the answer is no list of objects of this kind")
)

// list gives the objects of a kind, in one namespace or, with "", in all. With an
// error it gives those that arrived.
func (r *reader) list(ctx context.Context, k resource, namespace string) ([]*inventory.Object, error) {
	for again := 0; ; again++ {
		objects, err := r.pages(ctx, k, namespace)
		if codeOf(err) != http.StatusGone || again >= restarts {
			return objects, err
		}
		r.release(objects)
	}
}

func (r *reader) release(objects []*inventory.Object) {
	r.kept.Add(-int64(len(objects)))
	for _, o := range objects {
		r.keptBytes.Add(-int64(len(o.Raw())))
	}
}

func (r *reader) pages(ctx context.Context, k resource, namespace string) ([]*inventory.Object, error) {
	var out []*inventory.Object
	query := url.Values{"limit": {strconv.Itoa(r.opt.PageSize)}}
	seen := map[string]*inventory.Object{}
	for n, empty := int64(0), 0; ; n++ {
		var p *page
		err := r.get(ctx, k.path(namespace), query, func(body io.Reader) error {
			if p != nil {
				r.release(p.objects)
			}
			p = &page{reader: r, kind: k, namespace: namespace}
			return p.read(body)
		})
		if err != nil {
			if p != nil {
				r.release(p.objects)
			}
			return out, err
		}
		fresh := r.fresh(seen, p.objects)
		out = append(out, fresh...)
		if len(p.objects) > 0 {
			empty = 0
		} else {
			empty++
		}
		switch {
		case p.next == "":
			return out, nil
		case p.next == query.Get("continue"), len(p.objects) > 0 && len(fresh) == 0:
			return out, fmt.Errorf("%w: the list leads back to itself", errTooMuch)
		case empty > maxEmpty:
			return out, fmt.Errorf("%w: %d pages of the list are empty", errTooMuch, empty)
		case n > r.opt.MaxObjects/int64(r.opt.PageSize)+maxEmpty:
			return out, fmt.Errorf("%w: the list has more than %d pages", errTooMuch, n)
		}
		query.Set("continue", p.next)
	}
}

// fresh leaves out the objects that were on an earlier page as they are on this one,
// and remembers the others. One that changed in between stays, and becomes a Problem
// when the Snapshot is made.
func (r *reader) fresh(seen map[string]*inventory.Object, objects []*inventory.Object) []*inventory.Object {
	var again []*inventory.Object
	out := slices.DeleteFunc(objects, func(o *inventory.Object) bool {
		key := o.Namespace + "/" + o.Name
		first := seen[key]
		if first == nil {
			seen[key] = o
			return false
		}
		same := bytes.Equal(first.Raw(), o.Raw())
		if same {
			again = append(again, o)
		}
		return same
	})
	r.release(again)
	return out
}

// page is one part of a list.
type page struct {
	*reader
	kind      resource
	namespace string

	objects []*inventory.Object
	next    string // "" on the last
}

// read takes the body apart object by object, so that a page of large ones is
// never in memory as a whole.
func (p *page) read(body io.Reader) error {
	b := &budget{r: body, left: maxObject}
	d := json.NewDecoder(b)
	if err := expect(d, '{'); err != nil {
		return err
	}
	list := false
	for d.More() {
		b.left = maxObject
		key, err := d.Token()
		if err != nil {
			return notAList(err)
		}
		switch key {
		case "items":
			list = true
			err = p.items(b, d)
		case "metadata":
			var m struct {
				Continue string `json:"continue"`
			}
			err = d.Decode(&m)
			p.next = m.Continue
		case "kind":
			var kind string
			if err = d.Decode(&kind); err == nil && !strings.HasSuffix(kind, "List") {
				err = fmt.Errorf("it is a %q", shorten(kind))
			}
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return notAList(err)
		}
	}
	if err := expect(d, '}'); err != nil {
		return err
	}
	if !list {
		return fmt.Errorf("%w: it has no items", errNotAList)
	}
	return nil
}

func (p *page) items(b *budget, d *json.Decoder) error {
	open, err := d.Token()
	if err != nil {
		return err //nolint:wrapcheck // read says what it was doing
	}
	if open == nil {
		return nil // "items": null is an empty list
	}
	if open != json.Delim('[') {
		return errors.New("items is no list")
	}
	for d.More() {
		b.left = maxObject
		var text json.RawMessage
		if err := d.Decode(&text); err != nil {
			return err //nolint:wrapcheck // read says what it was doing
		}
		if len(text) > maxObject { // a part of it was read with the one before
			return errLong
		}
		o, err := p.object(text)
		if err != nil {
			return err
		}
		p.objects = append(p.objects, o)
		if n := p.kept.Add(1); n > p.opt.MaxObjects {
			return fmt.Errorf("%w: the cluster has more than %d objects", errTooMuch, p.opt.MaxObjects)
		}
		if n := p.keptBytes.Add(int64(len(o.Raw()))); n > p.opt.MaxBytes {
			return fmt.Errorf("%w: the cluster's objects have more than %d bytes", errTooMuch, p.opt.MaxBytes)
		}
	}
	_, err = d.Token()
	return err //nolint:wrapcheck // read says what it was doing
}

func (p *page) object(text []byte) (*inventory.Object, error) {
	text, err := clean(text, p.kind, p.opt.SecretValues)
	if err != nil {
		return nil, err
	}
	o, err := inventory.New(text, nil)
	switch {
	case err != nil:
		return nil, err //nolint:wrapcheck // it says what it was doing
	case o.Name == "":
		return nil, errors.New("an object has no name")
	case p.kind.namespaced == (o.Namespace == ""):
		return nil, fmt.Errorf("%s is in the wrong scope", shorten(o.String()))
	case p.namespace != "" && o.Namespace != p.namespace:
		return nil, fmt.Errorf("%s is of another namespace", shorten(o.String()))
	}
	return o, nil
}

func notAList(err error) error {
	if errors.Is(err, errTooMuch) || errors.Is(err, errNotAList) {
		return err
	}
	return fmt.Errorf("%w: %w", errNotAList, err)
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return notAList(err)
	}
	if got != want {
		return fmt.Errorf("%w: expected %q", errNotAList, want)
	}
	return nil
}

// budget bounds what is read for one object.
type budget struct {
	r    io.Reader
	left int64
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	p = p[:min(int64(len(p)), b.left)]
	n, err := 0, error(nil)
	// All of p, of which a connection brings little at a time: a JSON decoder looks at
	// all the space that it has again whenever it gets more.
	for n < len(p) && err == nil {
		var some int
		some, err = b.r.Read(p[n:])
		n += some
	}
	b.left -= int64(n)
	return n, err //nolint:wrapcheck // an io.Reader gives io.EOF as it is
}
