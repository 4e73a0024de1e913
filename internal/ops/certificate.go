package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is a certificate and its key in two files, which somebody renews
// while they are in use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[pair]
}

type pair struct {
	cert    tls.Certificate
	text    []byte // of both files
	expires time.Time
}

// OpenCertificate reads both files.
func OpenCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("a certificate and its key are required")
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// reload reads the files again, and reports whether they have changed. What does
// not fit together is an error, and what was there stays.
func (c *Certificate) reload() (bool, error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("read key: %w", err)
	}
	text := append(append(bytes.Clone(cert), 0), key...)
	if old := c.current.Load(); old != nil && bytes.Equal(old.text, text) {
		return false, nil
	}
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("read certificate %s and key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair{cert: loaded, text: text, expires: loaded.Leaf.NotAfter})
	return true, nil
}

// Get is for tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &c.current.Load().cert, nil
}

// Watch reads the files anew at every tick until ctx ends. Files that cannot be
// read leave in force what was.
func (c *Certificate) Watch(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		switch changed, err := c.reload(); {
		case err != nil:
			c.log.LogAttrs(ctx, slog.LevelError, "certificate was not renewed; the one before stays", slog.Any("error", err))
		case changed:
			c.log.LogAttrs(ctx, slog.LevelInfo, "certificate was renewed", slog.Time("expires", c.Expires()))
		}
	}
}

// Expires is when the certificate in force does.
func (c *Certificate) Expires() time.Time { return c.current.Load().expires }

// Expiry is a metric of when the certificate in force expires.
func (c *Certificate) Expiry(name string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: "When the certificate in force expires, in Unix seconds."},
		func() float64 { return float64(c.Expires().Unix()) })
}
