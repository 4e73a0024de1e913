// Package s3 keeps archives in buckets that speak the S3 protocol: Amazon's, Google Cloud
// Storage by its XML interface, MinIO, Ceph, R2 and others.
package s3

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"bulwark.dev/bulwark/internal/audit/archive"
)

// Scheme begins the URL of a bucket.
const Scheme = "s3://"

// amazon is the endpoint where the URL names none.
const amazon = "https://s3.amazonaws.com"

// sumKey is the name of the metadata that has an object's SHA-256 in hexadecimal.
const sumKey = "Bulwark-Sha256"

// maxObject is the largest object that one request may put. Segments are far smaller, and
// an object that is put in one request is there whole or not at all.
const maxObject = 5 << 30

// Address says where a bucket is.
type Address struct {
	// Endpoint is the URL of the service, without a path.
	Endpoint *url.URL
	Region   string
	Bucket   string
	// Prefix begins every object's name; it is empty or ends in a slash.
	Prefix string
	// PathStyle puts the bucket into the path and not into the host's name.
	PathStyle bool
}

// ParseAddress reads s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&use_path_style=true].
// An endpoint without TLS is taken on this machine only, and credentials not at all:
// they come from the environment, as for other programs that use S3.
func ParseAddress(text string) (Address, error) {
	a, err := parseAddress(text)
	if err != nil {
		return Address{}, fmt.Errorf("bucket %q: %w", redacted(text), err)
	}
	return a, nil
}

func parseAddress(text string) (Address, error) {
	var none Address
	u, err := url.Parse(text)
	if err != nil {
		return none, errors.New("it is not a URL: expected s3://BUCKET/PREFIX")
	}
	switch {
	case u.Scheme != "s3" || u.Host == "" || u.Opaque != "":
		return none, errors.New("expected s3://BUCKET/PREFIX")
	case u.User != nil:
		return none, errors.New("no credentials belong here: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else S3 programs use")
	case u.Fragment != "":
		return none, errors.New("no fragment is expected")
	}
	a := Address{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for part := range strings.SplitSeq(a.Prefix, "/") {
		if a.Prefix != "" && (part == "" || part == "." || part == "..") {
			return none, errors.New("the prefix has an empty part, or one of dots")
		}
	}
	if a.Prefix != "" {
		a.Prefix += "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return none, fmt.Errorf("its query: %w", err)
	}
	endpoint := amazon
	for key, values := range query {
		if len(values) != 1 || values[0] == "" {
			return none, fmt.Errorf("%s: expected one value", key)
		}
		switch value := values[0]; key {
		case "endpoint":
			endpoint = value
		case "region":
			a.Region = value
		case "use_path_style":
			if a.PathStyle, err = strconv.ParseBool(value); err != nil {
				return none, errors.New("use_path_style: expected true or false")
			}
		default:
			return none, fmt.Errorf("%s is unknown: there are endpoint, region and use_path_style", key)
		}
	}
	if a.Endpoint, err = url.Parse(endpoint); err != nil || a.Endpoint.Host == "" || a.Endpoint.User != nil || strings.Trim(a.Endpoint.Path, "/") != "" || a.Endpoint.RawQuery != "" {
		return none, errors.New("endpoint: expected https://HOST[:PORT]")
	}
	if a.Endpoint.Scheme != "https" && (a.Endpoint.Scheme != "http" || !local(a.Endpoint.Hostname())) {
		return none, errors.New("endpoint: expected https, or http on this machine")
	}
	return a, nil
}

// redacted leaves out what might be a password.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return Scheme + "…"
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Bucket is an archive.Store in a bucket.
type Bucket struct {
	client *minio.Client
	at     Address
}

// Open makes a Bucket. Credentials are looked for in the environment, in the files of the
// AWS command line, and then from the machine or pod: web identity, container and instance
// roles. Nothing is asked of the service yet. transport may be nil.
func Open(at Address, transport http.RoundTripper) (*Bucket, error) {
	if at.Bucket == "" || at.Endpoint == nil {
		return nil, errors.New("open a bucket: its name and endpoint are needed")
	}
	lookup := minio.BucketLookupAuto
	if at.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(at.Endpoint.Host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
		Secure: at.Endpoint.Scheme == "https", Region: at.Region, BucketLookup: lookup, Transport: transport, MaxRetries: 3,
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", at.Bucket, err)
	}
	return &Bucket{client, at}, nil
}

// List tells of every object under the prefix.
func (b *Bucket) List(ctx context.Context, each func(name string) error) error {
	ctx, stop := context.WithCancel(ctx) // which ends the listing too
	defer stop()
	for o := range b.client.ListObjects(ctx, b.at.Bucket, minio.ListObjectsOptions{Prefix: b.at.Prefix, Recursive: true}) {
		if o.Err != nil {
			return b.failed("list", "", o.Err)
		}
		if err := each(strings.TrimPrefix(o.Key, b.at.Prefix)); err != nil {
			return err
		}
	}
	return ctx.Err() //nolint:wrapcheck // the caller says what it was doing
}

// Put writes an object with one request.
func (b *Bucket) Put(ctx context.Context, name string, content io.Reader, size int64, sum archive.Sum) error {
	if size < 0 || size > maxObject {
		return fmt.Errorf("an object of %d bytes: at most %d are put", size, int64(maxObject))
	}
	_, err := b.client.PutObject(ctx, b.at.Bucket, b.at.Prefix+name, content, size, minio.PutObjectOptions{
		UserMetadata: map[string]string{sumKey: hex.EncodeToString(sum[:])}, ContentType: "application/octet-stream",
		SendContentMd5: true, DisableMultipart: true,
	})
	return b.failed("put", name, err)
}

// Get reads a small object.
func (b *Bucket) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	o, err := b.client.GetObject(ctx, b.at.Bucket, b.at.Prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.failed("get", name, err)
	}
	defer o.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(o, limit+1))
	if err != nil {
		return nil, b.failed("get", name, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("get %s%s: it has more than %d bytes", b.at.Prefix, name, limit)
	}
	return text, nil
}

// Sum is what the object says it had when it was put: whoever may write the bucket may
// have made it say so.
func (b *Bucket) Sum(ctx context.Context, name string) (archive.Sum, error) {
	o, err := b.client.StatObject(ctx, b.at.Bucket, b.at.Prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return archive.Sum{}, b.failed("look at", name, err)
	}
	for key, value := range o.UserMetadata {
		if raw, err := hex.DecodeString(value); strings.EqualFold(key, sumKey) && err == nil && len(raw) == len(archive.Sum{}) {
			return archive.Sum(raw), nil
		}
	}
	return archive.Sum{}, fmt.Errorf("look at %s%s: it has no SHA-256 of Bulwark's", b.at.Prefix, name)
}

// failed says what was tried on what. What is not there is fs.ErrNotExist.
func (b *Bucket) failed(doing, name string, err error) error {
	if err == nil {
		return nil
	}
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	return fmt.Errorf("%s %s%s%s at %s: %w", doing, Scheme+b.at.Bucket+"/", b.at.Prefix, name, b.at.Endpoint.Host, err)
}
