package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// api is the supervisor's HTTP server on its unix socket: GET /v1/status,
// POST /v1/hold, /v1/stop, /v1/start and /v1/wake. Only root and the supervisor's own
// user may talk to it.
type api struct {
	path   string
	lock   *os.File
	lis    *net.UnixListener
	server *http.Server
	done   chan struct{} // closed when serve has returned
}

// wireError is the body of an answer other than 200.
type wireError struct {
	Code  string `json:"code"` // refused | other-process | invalid | denied | failed
	Error string `json:"error"`
}

type peerKey struct{}

// listen binds the socket under a temporary name, closes it to others and
// moves it into place. A lock beside it keeps a second supervisor out.
func (s *Supervisor) listen() (*api, error) {
	lock, err := os.OpenFile(s.o.Socket+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the socket: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: another supervisor runs: %w", lock.Name(), err)
	}
	lis, err := bind(s.o.Socket)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	a := &api{path: s.o.Socket, lock: lock, lis: lis, done: make(chan struct{})}
	a.server = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second, // no ReadTimeout: it would end a long stop
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			cred, err := peer(conn.(*net.UnixConn))
			if err != nil {
				return ctx
			}
			return context.WithValue(ctx, peerKey{}, cred.Uid)
		},
	}
	return a, nil
}

func bind(path string) (*net.UnixListener, error) {
	tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".s%d", os.Getpid()))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("bind the socket: %w", err)
	}
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("bind the socket: %w", err)
	}
	lis.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		_ = lis.Close()
		_ = os.Remove(tmp)
		return nil, fmt.Errorf("bind the socket: %w", err)
	}
	return lis, nil
}

func (a *api) serve() error {
	defer close(a.done)
	if err := a.server.Serve(a.lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close lets answers under way go out for a moment, and removes the socket.
// The lock file stays: a removed one could be locked twice.
func (a *api) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close()
	}
	<-a.done
	_ = os.Remove(a.path)
	_ = a.lock.Close()
}

func (s *Supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.route("status"))
	mux.HandleFunc("POST /v1/hold", s.route("hold"))
	mux.HandleFunc("POST /v1/start", s.route("start"))
	mux.HandleFunc("POST /v1/wake", s.route("wake"))
	mux.HandleFunc("POST /v1/stop", s.route("stop"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, known := r.Context().Value(peerKey{}).(uint32)
		if !known || uid != 0 && uid != uint32(os.Geteuid()) {
			s.o.Logger.Warn("caller refused", "uid", uid, "path", r.URL.Path)
			answer(w, http.StatusForbidden, wireError{Code: "denied", Error: "only root and the supervisor's own user may ask"})
			return
		}
		if r.Method != http.MethodGet {
			s.o.Logger.Info("request", "path", r.URL.Path, "uid", uid)
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Supervisor) route(op string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req := request{op: op, reply: make(chan reply, 1)}
		if op == "stop" {
			in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
			in.DisallowUnknownFields()
			if err := in.Decode(&req.stop); err != nil || req.stop.How != Kill && req.stop.How != Shutdown {
				answer(w, http.StatusBadRequest, wireError{Code: "invalid", Error: "the request is not a stop"})
				return
			}
		}
		out := s.ask(r.Context(), req)
		switch {
		case out.err == nil:
			answer(w, http.StatusOK, out.status)
		case errors.Is(out.err, ErrRefused):
			answer(w, http.StatusConflict, wireError{Code: "refused", Error: out.err.Error()})
		case errors.Is(out.err, ErrOtherProcess):
			answer(w, http.StatusConflict, wireError{Code: "other-process", Error: out.err.Error()})
		default:
			answer(w, http.StatusInternalServerError, wireError{Code: "failed", Error: out.err.Error()})
		}
	}
}

// ask hands a request to the loop. What was begun goes on when the caller
// leaves.
func (s *Supervisor) ask(ctx context.Context, r request) reply {
	select {
	case s.requests <- r:
	case <-s.closed:
		return reply{err: errEnding}
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
	select {
	case out := <-r.reply:
		return out
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}
