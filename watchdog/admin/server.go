package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"resilver/watchdog"
)

// Limits of the server.
const (
	maxBody      = 64 << 10
	maxAudit     = 1 << 10          // of a request's body in the log
	maxRequests  = 32               // at once
	readTimeout  = 10 * time.Second // of a request, header and body
	writeTimeout = 10 * time.Second // of an answer
	quickRoute   = 15 * time.Second // for looking and for raft commands
	weighRoute   = 3 * time.Minute  // servers are asked, differences confirmed (policy.errant_confirm), a lease acquired
	stopTimeout  = 5 * time.Second  // for the requests under way at the end
)

// Options of a Server. All but Readers and Writers are required.
type Options struct {
	Socket  string   // path
	Readers []string // users, and groups with a leading %, that may look
	Writers []string // those that may act; root and the server's own uid always may
	Daemon  Daemon
	Logger  *slog.Logger
}

// Server answers at the admin socket.
type Server struct {
	o        Options
	access   access
	listener *net.UnixListener
	file     os.FileInfo // the socket as bound, so that no other's is removed
	slots    chan struct{}
	http     *http.Server
}

// Listen binds the socket; Serve answers at it.
func Listen(o Options) (*Server, error) {
	switch {
	case o.Socket == "":
		return nil, errors.New("admin: no socket")
	case o.Daemon == nil:
		return nil, errors.New("admin: no daemon")
	case o.Logger == nil:
		return nil, errors.New("admin: no logger")
	}
	s := &Server{o: o, access: access{self: uint32(os.Geteuid()), readers: o.Readers, writers: o.Writers},
		slots: make(chan struct{}, maxRequests)}
	l, err := listen(o.Socket)
	if err != nil {
		return nil, err
	}
	s.listener = l
	if s.file, err = os.Lstat(o.Socket); err != nil {
		return nil, errors.Join(fmt.Errorf("look at the admin socket: %w", err), l.Close())
	}
	s.http = &http.Server{
		Handler: s.routes(), ConnContext: withCaller,
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Serve answers until ctx ends, then lets the requests under way finish for a
// few seconds, and removes the socket. It returns nil at the end of ctx.
func (s *Server) Serve(ctx context.Context) error {
	return serve(ctx, s.http, s.listener, func() {
		if same(s.o.Socket, s.file) {
			_ = os.Remove(s.o.Socket)
		}
	})
}

// serve runs h on l until ctx ends, then stops it.
func serve(ctx context.Context, h *http.Server, l net.Listener, closed func()) error {
	h.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	var err error
	select {
	case err = <-done:
		done <- err
	case <-ctx.Done():
	}
	closed()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if h.Shutdown(stop) != nil {
		_ = h.Close() // whoever still asks is cut off
	}
	if err = <-done; errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http: %w", err)
}

// handler answers a request with a value for JSON, or an error.
type handler func(r *http.Request, by string) (any, error)

func (s *Server) routes() http.Handler {
	d := s.o.Daemon
	mux := http.NewServeMux()
	look := func(path string, h handler) { mux.Handle("GET "+path, s.wrap(path, quickRoute, false, h)) }
	weigh := func(path string, h handler) { mux.Handle("GET "+path, s.wrap(path, weighRoute, false, h)) }
	act := func(path string, limit time.Duration, h handler) {
		mux.Handle("POST "+path, s.wrap(path, limit, true, h))
	}

	look("/v1/status", func(r *http.Request, _ string) (any, error) { return d.Status(r.Context()) })
	weigh("/v1/plan", func(r *http.Request, _ string) (any, error) {
		q := r.URL.Query()
		return d.Plan(r.Context(), PlanWish{Rollback: q.Has("rollback"), WipeFirst: q.Has("wipe_first")})
	})
	look("/v1/history", func(r *http.Request, _ string) (any, error) {
		records, err := d.History(r.Context())
		return recordsOf(records), err
	})
	look("/v1/lease", func(r *http.Request, _ string) (any, error) {
		state, err := d.Lease(r.Context())
		return leaseStateOf(state), err
	})
	act("/v1/rebuild", weighRoute, s.rebuild(watchdog.TriggerManual))
	act("/v1/drill", weighRoute, s.rebuild(watchdog.TriggerDrill))
	act("/v1/backup", weighRoute, s.rebuild(watchdog.TriggerBackup))
	act("/v1/rollback", weighRoute, s.rebuild(watchdog.TriggerRollback))
	act("/v1/cancel", quickRoute, func(r *http.Request, by string) (any, error) { return done{}, d.Cancel(r.Context(), by) })
	act("/v1/pause", quickRoute, s.pause)
	act("/v1/resume", quickRoute, s.resume)
	act("/v1/ack", quickRoute, func(r *http.Request, by string) (any, error) { return done{}, d.Ack(r.Context(), by) })
	mux.Handle("/", s.wrap("", quickRoute, false, func(r *http.Request, _ string) (any, error) {
		return nil, Usage("there is no %s %s here; is the client newer than the daemon?", r.Method, r.URL.Path)
	}))
	return mux
}

// done is the answer of a change that has nothing to tell.
type done struct{}

func (s *Server) rebuild(trigger string) handler {
	return func(r *http.Request, by string) (any, error) {
		var req RebuildRequest
		if err := decode(r, &req); err != nil {
			return nil, err
		}
		if backup := trigger == watchdog.TriggerBackup; backup != (req.To != "") {
			return nil, Usage("a backup, and nothing else, needs the directory to leave it in")
		}
		if trigger == watchdog.TriggerRollback && req.From+req.Method != "" {
			return nil, Usage("a rollback copies nothing: it has neither donor nor method")
		}
		if req.WipeFirst && trigger != watchdog.TriggerManual {
			return nil, Usage("only a rebuild can wipe first")
		}
		req.By, req.Trigger = by, trigger
		answer, err := s.o.Daemon.Rebuild(r.Context(), req)
		if errors.Is(err, watchdog.ErrNoQuorum) { // for a rebuild this is the guard's no
			return nil, Refuse(errorOf(watchdog.ErrNoQuorum).Guards)
		}
		return answer, err
	}
}

// maxPause bounds a pause that ends by itself. A time.Duration holds less than
// what JSON can say, and would wrap around.
const maxPause = 366 * 24 * time.Hour

func (s *Server) pause(r *http.Request, by string) (any, error) {
	var req PauseRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Reason == "" {
		return nil, Usage("a pause needs a reason: others will ask")
	}
	if req.ForSeconds > maxPause.Seconds() {
		return nil, Usage("a pause of more than a year is none: leave the time out, and it lasts until `resilver resume`")
	}
	p := watchdog.Pause{By: by, Reason: req.Reason, Node: req.Node}
	if req.ForSeconds > 0 {
		p.Until = watchdog.StampOf(time.Now().Add(time.Duration(req.ForSeconds * float64(time.Second))))
	}
	return done{}, s.o.Daemon.Pause(r.Context(), p)
}

func (s *Server) resume(r *http.Request, by string) (any, error) {
	var req ResumeRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return done{}, s.o.Daemon.Resume(r.Context(), req.Node, by)
}

// decode reads the body, one JSON value without unknown fields.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Usage("read request: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Usage("read request: more than one value")
	}
	return nil
}

// wrap gives a handler its limits: who may call, for how long, how much. It
// writes the answer, recovers from a panic, and logs every change.
func (s *Server) wrap(route string, limit time.Duration, write bool, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			answer(w, nil, &Error{Code: CodeBusy, Message: "too many requests at once: try again"})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, nil, Usage("read request: %v", err))
			return
		}
		r = r.WithContext(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // or the end of ReadTimeout would end ctx
		_ = control.SetWriteDeadline(time.Now().Add(limit + writeTimeout))
		who := callerOf(ctx)
		value, err := s.allowed(r, who, write, h)
		s.audit(route, who, write, body, err)
		answer(w, value, err)
	})
}

func (s *Server) allowed(r *http.Request, who caller, write bool, h handler) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Logger.Error("admin handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			value, err = nil, &Error{Code: CodeFailed, Message: "internal error: the daemon's log has it"}
		}
	}()
	if write && !s.access.mayWrite(who) || !s.access.mayRead(who) {
		verb, list := "look", "admin.readers"
		if write {
			verb, list = "act", "admin.writers"
		}
		return nil, &Error{Code: CodeDenied, Message: fmt.Sprintf("%s may not %s here: ask root, or have the name added to %s", who.name(), verb, list)}
	}
	return h(r, who.name())
}

// audit logs every change, done or not, with who asked for what.
func (s *Server) audit(route string, who caller, write bool, body []byte, err error) {
	attrs := []any{"route", route, "uid", who.uid, "user", who.name()}
	if write {
		attrs = append(attrs, "request", string(body[:min(len(body), maxAudit)]))
	}
	if err != nil {
		e := errorOf(err)
		attrs = append(attrs, "code", e.Code)
		if ids := e.guardIDs(); len(ids) > 0 {
			attrs = append(attrs, "guards", strings.Join(ids, ","))
		} else {
			attrs = append(attrs, "error", e.Message)
		}
	}
	switch {
	case err == nil && write:
		s.o.Logger.Info("admin change", attrs...)
	case err != nil && write:
		s.o.Logger.Warn("admin change not done", attrs...)
	case err != nil:
		s.o.Logger.Debug("admin request not answered", attrs...)
	}
}

func answer(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	if err != nil {
		e := errorOf(err)
		status, value = e.httpStatus(), e
	}
	body, err := json.Marshal(value)
	if err != nil { // a NaN in an answer
		status, body = http.StatusInternalServerError, []byte(`{"code":"failed","error":"encode answer","guards":[]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
