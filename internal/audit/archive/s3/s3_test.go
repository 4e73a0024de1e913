package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"bulwark.dev/bulwark/internal/audit/archive"
	"bulwark.dev/bulwark/internal/audit/archive/archivetest"
	"bulwark.dev/bulwark/internal/audit/archive/s3"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
)

// serve runs an S3 server with an empty bucket and gives its URL. before, which may be
// nil, sees each request and may answer it.
func serve(t *testing.T, before func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "somebody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a secret of the test")
	t.Setenv("AWS_SESSION_TOKEN", "")
	backend := s3mem.New()
	if err := backend.CreateBucket("trail"); err != nil {
		t.Fatal(err)
	}
	server := gofakes3.New(backend).Server()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=somebody/") {
			http.Error(w, "not signed", http.StatusForbidden)
			return
		}
		if before == nil || !before(w, r) {
			server.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(web.Close)
	return web.URL
}

func open(t *testing.T, url, prefix string) *s3.Bucket {
	t.Helper()
	at, err := s3.ParseAddress("s3://trail" + prefix + "?use_path_style=true&region=us-east-1&endpoint=" + url)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s3.Open(at, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T) {
	url := serve(t, nil)
	b, other := open(t, url, "/prod"), open(t, url, "/prod2")
	text := bytes.Repeat([]byte("bulwark "), 1<<16)
	sum := archive.Sum(sha256.Sum256(text))
	for _, name := range []string{"log/sealed/a", "log/sealed/b", "keys/log.pub"} {
		if err := b.Put(t.Context(), name, bytes.NewReader(text), int64(len(text)), sum); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := b.List(t.Context(), func(name string) error { got = append(got, name); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keys/log.pub", "log/sealed/a", "log/sealed/b"}, got); diff != "" {
		t.Errorf("list: %s", diff)
	}
	if err := other.List(t.Context(), func(name string) error { t.Errorf("another prefix has %s", name); return nil }); err != nil {
		t.Error(err)
	}
	if read, err := b.Get(t.Context(), "log/sealed/a", 1<<20); err != nil || !bytes.Equal(read, text) {
		t.Errorf("%d bytes, %v", len(read), err)
	}
	if _, err := b.Get(t.Context(), "log/sealed/a", 100); err == nil || !strings.Contains(err.Error(), "more than 100 bytes") {
		t.Errorf("too large an object: %v", err)
	}
	if got, err := b.Sum(t.Context(), "log/sealed/a"); err != nil || got != sum {
		t.Errorf("sum %x, %v", got, err)
	}
	for _, err := range []error{second(b.Get(t.Context(), "nothing", 10)), second(b.Sum(t.Context(), "nothing"))} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an object that is not there: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestArchiveInABucket(t *testing.T) {
	url := serve(t, nil)
	trail := archivetest.Sealed(t, 3, 2)
	s, err := archive.New(open(t, url, "/prod")).Copy(t.Context(), trail.Dir)
	if err != nil || s.Segments != 2 || s.Records != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err = archive.New(open(t, url, "/prod")).Copy(t.Context(), trail.Dir); err != nil || s.Files != 0 {
		t.Errorf("a second time: %+v, %v", s, err)
	}
	compared, differ, err := archive.New(open(t, url, "/prod")).Check(t.Context(), trail.Dir)
	if err != nil || compared < 5 || len(differ) > 0 {
		t.Errorf("%d compared, %v differ, %v", compared, differ, err)
	}
	// Somebody else's trail does not belong there.
	if _, err := archive.New(open(t, url, "/prod")).Copy(t.Context(), archivetest.Sealed(t, 1).Dir); err == nil || errors.Is(err, witness.ErrAhead) {
		t.Errorf("another trail: %v", err)
	}
}

// What the service refuses is an error that says on what, and has no secret in it.
func TestRefused(t *testing.T) {
	for name, answer := range map[string]string{
		"AccessDenied": "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
		"nonsense":     "\x00\x01",
		"another form": "<html><body>proxy</body></html>",
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(answer))
				return true
			})
			b := open(t, url, "/prod")
			_, get := b.Get(t.Context(), "x", 10)
			_, sum := b.Sum(t.Context(), "x")
			for doing, err := range map[string]error{
				"list": b.List(t.Context(), func(string) error { return nil }),
				"put":  b.Put(t.Context(), "x", strings.NewReader("a"), 1, sha256.Sum256([]byte("a"))), "get": get, "look at": sum,
			} {
				if err == nil || !strings.Contains(err.Error(), doing) || !strings.Contains(err.Error(), "s3://trail/prod/") || errors.Is(err, fs.ErrNotExist) ||
					strings.Contains(err.Error(), "a secret of the test") {
					t.Errorf("%s: %v", doing, err)
				}
			}
		})
	}
}

func TestAContextThatEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	url := serve(t, func(http.ResponseWriter, *http.Request) bool { stop(); return false })
	if err := open(t, url, "").List(ctx, func(string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestParseAddress(t *testing.T) {
	type address struct {
		Endpoint, Region, Bucket, Prefix string
		PathStyle                        bool
	}
	good := map[string]address{
		"s3://trail":                              {Endpoint: "https://s3.amazonaws.com", Bucket: "trail"},
		"s3://trail/":                             {Endpoint: "https://s3.amazonaws.com", Bucket: "trail"},
		"s3://trail/a/b/?region=eu-central-1":     {Endpoint: "https://s3.amazonaws.com", Bucket: "trail", Prefix: "a/b/", Region: "eu-central-1"},
		"s3://t?endpoint=https://minio.lan:9000":  {Endpoint: "https://minio.lan:9000", Bucket: "t"},
		"s3://t?endpoint=http://127.0.0.1:9000":   {Endpoint: "http://127.0.0.1:9000", Bucket: "t"},
		"s3://t?endpoint=http://[::1]:9000":       {Endpoint: "http://[::1]:9000", Bucket: "t"},
		"s3://t?use_path_style=true&region=local": {Endpoint: "https://s3.amazonaws.com", Bucket: "t", PathStyle: true, Region: "local"},
	}
	for text, want := range good {
		a, err := s3.ParseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := address{a.Endpoint.String(), a.Region, a.Bucket, a.Prefix, a.PathStyle}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for _, text := range []string{
		"", "trail", "s3:trail", "s3://", "s3:///x", "gs://trail", "s3://user:password@trail", "s3://trail#x", "s3://trail/a/../b", "s3://trail/a//b",
		"s3://trail?acl=public", "s3://trail?region=", "s3://trail?region=a&region=b", "s3://trail?use_path_style=perhaps", "s3://trail?endpoint=minio.lan",
		"s3://trail?endpoint=http://minio.lan", "s3://trail?endpoint=https://u:p@minio.lan", "s3://trail?endpoint=https://minio.lan/path", "s3://trail?endpoint=ftp://127.0.0.1",
		"s3://trail?region=%zz", "s3://%zz",
	} {
		a, err := s3.ParseAddress(text)
		if err == nil {
			t.Errorf("%q was taken: %+v", text, a)
		} else if strings.Contains(err.Error(), "password") {
			t.Errorf("%q: the error has what may be a secret: %v", text, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"s3://trail/a?endpoint=https://x:1&region=r&use_path_style=1", "s3://", "s3://[::1]/%2e%2e", "s3://a?endpoint=http://127.0.0.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := s3.ParseAddress(text)
		if err != nil {
			return
		}
		if a.Bucket == "" || a.Endpoint.Host == "" || strings.Contains("/"+a.Prefix, "/../") || a.Prefix != "" && !strings.HasSuffix(a.Prefix, "/") {
			t.Errorf("%q gave %+v", text, a)
		}
		if a.Endpoint.Scheme != "https" && a.Endpoint.Hostname() != "localhost" && !strings.HasPrefix(a.Endpoint.Hostname(), "127.") && a.Endpoint.Hostname() != "::1" {
			t.Errorf("%q is not encrypted: %v", text, a.Endpoint)
		}
	})
}
