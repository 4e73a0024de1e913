package adversarial

import (
	"bufio"
	"strings"
	"testing"
)

// TestReadings proves that the suite sees a closed path in whatever dress.
func TestReadings(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]bool{
		"/admin": true, "/admin/": true, "/admin/stats": true, "//admin": true, "/x/../admin": true, "/./admin": true,
		"/%61dmin": true, "/x/%2e%2e/admin": true, "/x/..%2fadmin": true, "/x%5c..%5cadmin": true, `/x\..\admin`: true,
		"/x/..;a/admin": true, "/admin;x": true, "/%252561dmin": true, "/admin%00x": true, "/admin%23x": true, "/admin?x": true,
		"/": false, "/public": false, "/administrator": false, "/x/admin": false, "/public?/../admin": false, "/admin.": false, "/ADMIN": false,
	} {
		if got := isAdmin(target); got != want {
			t.Errorf("isAdmin(%q) = %t, want %t", target, got, want)
		}
	}
}

// TestBackendIsStrict proves that the backend notices what a gateway must not
// send.
func TestBackendIsStrict(t *testing.T) {
	t.Parallel()
	const chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for raw, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                       "",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi":                               "",
		chunked + "2\r\nhi\r\n0\r\nX-A: b\r\n\r\n":                                                "",
		"GET / HTTP/1.1\nHost: a\r\n\r\n":                                                         "bare LF",
		"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n":                                            "control character",
		"GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n":                                              "field line",
		"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n":                                              "field line",
		"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n":                                                  "field line",
		"GET / /x HTTP/1.1\r\nHost: a\r\n\r\n":                                                    "request line",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n":                                               "request line",
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n":                                                       "request line",
		"GET / HTTP/1.1\r\n\r\n":                                                                  "0 Host",
		"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n":                                            "2 Host",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi":          "framed 2 times",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi": "framed 2 times",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nhi":                         "Transfer-Encoding",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nhi":                              "Content-Length",
		chunked + "2;a=b\r\nhi\r\n0\r\n\r\n":                                                      "chunk size",
		chunked + "2\r\nhiho\r\n0\r\n\r\n":                                                        "behind a chunk",
		chunked + "2\r\nhi\r\n0\r\nX : b\r\n\r\n":                                                 "field line",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhi":                               "incomplete",
		chunked + "2\r\nhi\r\n":                                                                   "incomplete",
	} {
		r := &received{}
		w := &wire{br: bufio.NewReader(strings.NewReader(raw)), r: r}
		length, err := w.readHead()
		if err == nil {
			err = w.readBody(length)
		}
		got := r.wrong
		if got == "" && err != nil {
			got = "incomplete"
		}
		if want == "" && got != "" || want != "" && !strings.Contains(got, want) {
			t.Errorf("%q: found %q, want %q", raw, got, want)
		}
		if err == nil && r.raw != raw {
			t.Errorf("%q was kept as %q", raw, r.raw)
		}
	}
}
