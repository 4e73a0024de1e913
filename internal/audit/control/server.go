package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// folderName is where the socket is made before it gets its name.
const folderName = "control.tmp"

// pathPrefix stands before the verb in a request's path.
const pathPrefix = "/v1/"

// Server answers requests. NewServer makes it.
type Server struct {
	log *slog.Logger

	mu    sync.Mutex
	verbs map[string]Func

	running chan struct{}
}

// NewServer makes a server that knows no verb yet. A nil log drops what it has to say.
func NewServer(log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{log: log, verbs: map[string]Func{}, running: make(chan struct{}, maxRunning)}
}

// Handle makes fn answer a verb: small letters, digits and dashes. A verb that has an
// answer already, or is not one, is a mistake of the program: Handle panics.
func (s *Server) Handle(verb string, fn func(ctx context.Context, request json.RawMessage) (any, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.verbs[verb]; twice || fn == nil || !verbPattern.MatchString(verb) {
		panic("control: verb " + verb + " is not a verb, has no function, or is there twice")
	}
	s.verbs[verb] = fn
}

// Listen makes the socket in dir, the trail's folder. The caller must hold the log's
// lock, and keep it until the listener is closed: a socket that is there already is then
// that of a process that is dead, and is replaced. What is no socket is not.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	ln, err := listen(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	return ln, nil
}

func listen(ctx context.Context, dir string) (net.Listener, error) {
	path, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is no socket: take it away", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A socket is made with the mode that the umask leaves. In a folder of its own nobody can
	// open it before it has the mode that it should have.
	folder := filepath.Join(dir, folderName)
	if err := os.RemoveAll(folder); err != nil {
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	temporary := filepath.Join(folder, "s")
	if err := fits(temporary); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", temporary)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // of network "unix"
	err = os.Chmod(temporary, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &listener{Listener: ln, path: path}, nil
}

// listener removes its socket when it is closed.
type listener struct {
	net.Listener

	path string
	once sync.Once
}

// Accept gives connections of this user and of root, and closes others.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, known := peerUser(conn)
		if known && uid != 0 && uid != os.Getuid() {
			_ = conn.Close()
			continue
		}
		return conn, nil
	}
}

// Close closes the listener and takes the socket away.
func (l *listener) Close() error {
	var removed error
	l.once.Do(func() {
		if removed = os.Remove(l.path); errors.Is(removed, fs.ErrNotExist) {
			removed = nil
		}
	})
	return errors.Join(removed, l.Listener.Close())
}

// callerKey is of the uid in a request's context.
type callerKey struct{}

// Caller is the number of the user who sent the request that ctx is of, as the system
// tells it; false where it does not.
func Caller(ctx context.Context) (uid int, ok bool) {
	uid, ok = ctx.Value(callerKey{}).(int)
	return uid, ok
}

// Serve answers requests on ln until ctx ends, and then waits for those that run, whose
// contexts ended with it. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler: http.HandlerFunc(s.serve), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if uid, ok := peerUser(conn); ok {
				return context.WithValue(ctx, callerKey{}, uid)
			}
			return ctx
		},
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- srv.Shutdown(context.WithoutCancel(ctx)) })
	err := srv.Serve(ln)
	if !stop() {
		return errors.Join(closed(err), <-stopped)
	}
	return closed(err)
}

// closed is nil for the error of a server that was stopped.
func closed(err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the control socket: %w", err)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	verb, ok := strings.CutPrefix(r.URL.Path, pathPrefix)
	s.mu.Lock()
	fn := s.verbs[verb]
	s.mu.Unlock()
	switch {
	case !ok || fn == nil:
		s.reply(w, http.StatusNotFound, answer{Error: fmt.Sprintf("the server does not know %.80q: it may be of another version than this command", verb), Refused: true})
		return
	case r.Method != http.MethodPost:
		s.reply(w, http.StatusMethodNotAllowed, answer{Error: "only POST is allowed", Refused: true})
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		s.reply(w, http.StatusBadRequest, answer{Error: fmt.Sprintf("read the request: %v", err), Refused: true})
		return
	}
	// The limit was for reading; from here on a deadline would look like a client that left.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	default:
		s.reply(w, http.StatusServiceUnavailable, answer{Error: fmt.Sprintf("%d requests run already: try again later", maxRunning)})
		return
	}
	result, err := s.call(r.Context(), verb, fn, request)
	if err == nil {
		var raw json.RawMessage
		if raw, err = json.Marshal(result); err == nil {
			s.reply(w, http.StatusOK, answer{Result: raw})
			return
		}
	}
	code := http.StatusInternalServerError
	if Refused(err) {
		code = http.StatusBadRequest
	}
	s.reply(w, code, answer{Error: err.Error(), Refused: Refused(err)})
}

// call runs one verb and says in the process's log that it ran.
func (s *Server) call(ctx context.Context, verb string, fn Func, request json.RawMessage) (any, error) {
	attrs := []slog.Attr{slog.String("verb", verb)}
	if uid, ok := Caller(ctx); ok {
		attrs = append(attrs, slog.Int("uid", uid))
	}
	result, err := fn(ctx, request)
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.log.LogAttrs(ctx, level, "control", attrs...)
	return result, err
}

// reply writes an answer. Work may take long, writing what came of it may not.
func (s *Server) reply(w http.ResponseWriter, code int, a answer) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Second)) //nolint:forbidigo // a deadline of the network is by the system's clock
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(a); err != nil {
		s.log.Debug("control: the client did not take its answer", slog.String("error", err.Error()))
	}
}
