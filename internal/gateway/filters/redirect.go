package filters

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// redirect answers in place of a backend.
type redirect struct {
	rule     string
	scheme   string
	host     string
	port     uint16
	dropPort bool
	path     *newPath // nil to keep
	status   int
}

func newRedirect(r *ir.Rule, _ Deps) (step, error) {
	if r.Redirect == nil {
		return nil, nil
	}
	d := &redirect{
		rule:     r.ID + " redirect",
		scheme:   r.Redirect.Scheme,
		port:     r.Redirect.Port,
		dropPort: r.Redirect.DropPort,
		status:   r.Redirect.Status,
	}
	switch d.scheme {
	case "", "http", "https":
	default:
		return nil, fmt.Errorf("scheme %q is neither http nor https", d.scheme)
	}
	switch d.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, fmt.Errorf("status %d is none of 301, 302, 303, 307 and 308", d.status)
	}
	var err error
	if d.host, err = bareHost(r.Redirect.Hostname); err != nil {
		return nil, err
	}
	if d.path, err = makeNewPath(r.Redirect.Path, r); err != nil {
		return nil, err
	}
	return d, nil
}

// request makes a Location that is always absolute: a path that began with "//"
// would otherwise name another host. All its parts were normalised, so it holds
// no byte that could end the field.
func (d *redirect) request(_ context.Context, x *Exchange) bulwark.Decision {
	scheme, host, path := d.scheme, d.host, x.Req.Path
	if scheme == "" {
		scheme = x.Req.Scheme
	}
	if host == "" {
		host = x.Req.Host
	}
	if host == "" || path == "" || path[0] != '/' {
		return bulwark.Refuse(http.StatusBadRequest, bulwark.CodeBadRequest, d.rule, "the request names no host or path to redirect from")
	}
	if d.path != nil {
		var err error
		if path, _, err = d.path.of(x); err != nil {
			return bulwark.Refuse(http.StatusInternalServerError, bulwark.CodeInternal, d.rule, err.Error())
		}
	}
	size := len(scheme) + len("://") + len(host) + len(":65535") + len(path) + len("?") + len(x.Req.Query)
	location := append(make([]byte, 0, size), scheme...)
	location = append(location, "://"...)
	location = append(location, host...)
	if port := d.locationPort(scheme, x.ListenerPort); port != 0 {
		location = append(location, ':')
		location = strconv.AppendUint(location, uint64(port), 10)
	}
	location = append(location, path...)
	if x.Req.HasQuery {
		location = append(location, '?')
		location = append(location, x.Req.Query...)
	}
	x.Reply = &Reply{Status: d.status}
	x.Reply.Header.Add("location", string(location))
	return bulwark.Allow("")
}

// locationPort is the port that Location names, or 0 for none: the one asked
// for, or the new scheme's own, or the listener's, and never the one that the
// scheme implies.
func (d *redirect) locationPort(scheme string, listener uint16) uint16 {
	port := d.port
	switch {
	case port != 0:
	case d.scheme != "" || d.dropPort:
		return 0
	default:
		port = listener
	}
	if scheme == "http" && port == 80 || scheme == "https" && port == 443 {
		return 0
	}
	return port
}
