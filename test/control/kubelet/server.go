package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"bulwark.dev/bulwark/test/control/pki"
)

// idleLimit ends a stream on which nothing happens, as the kubelet's default.
const idleLimit = 4 * time.Hour

// serve answers the API server on the node's port: logs, exec, attach and
// port-forward, for the API server's own certificate and no other.
func (k *kubelet) serve(ctx context.Context) (stop func(), err error) {
	authority, err := os.ReadFile(filepath.Join(k.PKI, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("kubelet's API: %w", err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	cert, err := tls.LoadX509KeyPair(filepath.Join(k.PKI, "kubelet.crt"), filepath.Join(k.PKI, "kubelet.key"))
	if err != nil {
		return nil, fmt.Errorf("kubelet's API: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(k.NodeIP, strconv.Itoa(kubeletPort)))
	if err != nil {
		return nil, fmt.Errorf("kubelet's API: %w", err)
	}
	s := &http.Server{
		Handler: k.routes(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
			VerifyConnection: func(s tls.ConnectionState) error {
				if name := s.PeerCertificates[0].Subject.CommonName; name != pki.KubeletClient {
					return fmt.Errorf("certificate of %q may not use the kubelet", name)
				}
				return nil
			},
			NextProtos: []string{"http/1.1"}, // streams are upgrades
		},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.ServeTLS(l, "", "") // ends when stop closes it
	}()
	return func() { _ = s.Close(); <-ended }, nil
}

func (k *kubelet) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok") // the client is gone else
	})
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	for _, method := range []string{"GET", "POST"} {
		for _, uid := range []string{"", "{uid}/"} {
			mux.HandleFunc(method+" /exec/{namespace}/{pod}/"+uid+"{container}", k.serveExec)
			mux.HandleFunc(method+" /attach/{namespace}/{pod}/"+uid+"{container}", k.serveAttach)
		}
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", k.servePortForward)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", k.servePortForward)
	}
	return mux
}

// target finds the pod and the container of a request.
func (k *kubelet) target(req *http.Request) (*pod, *container, error) {
	r, ok := k.find(req.PathValue("namespace"), req.PathValue("pod"))
	if uid := req.PathValue("uid"); !ok || uid != "" && uid != string(r.uid) {
		return nil, nil, fmt.Errorf("pod %s/%s does not run here", req.PathValue("namespace"), req.PathValue("pod"))
	}
	c, err := r.container(req.PathValue("container"))
	return r, c, err
}

func (k *kubelet) serveLogs(w http.ResponseWriter, req *http.Request) {
	_, c, err := k.target(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	q, err := parseLogQuery(req.URL.Query(), k.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := logFile
	var over <-chan struct{}
	if q.previous {
		name, q.follow = previousLogFile, false
	} else if t, err := c.running(); err == nil {
		over = t.done
	} else {
		q.follow = false
	}
	path := filepath.Join(c.dir, name)
	if _, err := os.Stat(path); err != nil {
		text := fmt.Sprintf("container %q in pod %q has no such log: it has not started", c.spec.Name, c.pod.name)
		http.Error(w, text, http.StatusBadRequest)
		return
	}
	flusher, ok := w.(http.Flusher)
	if !ok {
		flusher = noFlush{}
	}
	_ = followLog(req.Context(), flushing{w, flusher}, path, q, over) // the client is gone else
}

type flushing struct {
	io.Writer
	http.Flusher
}

type noFlush struct{}

// Flush implements http.Flusher.
func (noFlush) Flush() {}

func (k *kubelet) serveExec(w http.ResponseWriter, req *http.Request) {
	_, c, err := k.target(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	opts, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	command := req.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, errNoCommand.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, req, remote{c}, "", "", "", command, opts, idleLimit,
		remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) serveAttach(w http.ResponseWriter, req *http.Request) {
	_, c, err := k.target(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	opts, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, req, remote{c}, "", "", "", opts, idleLimit,
		remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) servePortForward(w http.ResponseWriter, req *http.Request) {
	r, c, err := k.target(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	opts, err := portforward.NewV4Options(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, req, remote{c}, r.name, string(r.uid), opts, idleLimit,
		remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

var errNoCommand = errors.New("exec: no command")
