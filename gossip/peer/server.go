package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"resilver/watchdog"
)

// Limits of the peer API.
const (
	maxRequest    = 4 << 20 // a GTID set can be long
	maxAnswer     = 16 << 20
	maxAtOnce     = 64
	answerTimeout = 20 * time.Second // for everything but a tunnel
)

// Handlers answer the peer API. The caller is the node's name from its
// certificate; the context ends with the request. Errors that wrap
// watchdog.ErrTokenAhead, ErrTokenStale or ErrNoQuorum keep their meaning on
// the way to the caller.
type Handlers struct {
	State        func(ctx context.Context, caller string) (watchdog.PeerState, error)
	Objects      func(ctx context.Context, caller string) ([]string, error)
	GTIDSubtract func(ctx context.Context, caller, a, b string) (string, error)
	// GTIDBeyond is the errant rule, see watchdog.Peers; of primary only the
	// sets are given.
	GTIDBeyond func(ctx context.Context, caller, set string, id uint32, primary watchdog.Observation) (string, error)
	Lease      func(ctx context.Context, caller string, body []byte) ([]byte, error)
	// Checksums reads this node's tables for the lease's holder; nil: it does not.
	Checksums func(ctx context.Context, caller string, order watchdog.ChecksumOrder) (watchdog.Checksums, error)
	// Tunnel admits a tunnel or refuses it with an error. The function it
	// returns is given the opened tunnel, and closes it; its context ends with
	// the port.
	Tunnel func(ctx context.Context, req TunnelRequest) (serve func(context.Context, net.Conn), err error)
	// Backup does the same for the stream of a backup; nil: this node gives none.
	Backup func(ctx context.Context, req BackupRequest) (serve func(context.Context, net.Conn), err error)
}

func (h *Handlers) check() error {
	if h.State == nil || h.Objects == nil || h.GTIDSubtract == nil || h.GTIDBeyond == nil || h.Lease == nil || h.Tunnel == nil {
		return errors.New("a handler of the peer API is missing")
	}
	return nil
}

type apiServer struct {
	ctx      context.Context
	log      *slog.Logger
	listener *chanListener
	http     *http.Server
	handlers atomic.Pointer[Handlers]
	slots    chan struct{}
	running  sync.WaitGroup // handlers, tunnels included
	// streaming is the port's Options.Streaming.
	streaming func() (end func())

	mu     sync.Mutex
	closed bool
}

func newAPIServer(ctx context.Context, log *slog.Logger, streaming func() (end func())) *apiServer {
	s := &apiServer{ctx: ctx, log: log, streaming: streaming, listener: newChanListener(), slots: make(chan struct{}, maxAtOnce)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", s.bounded(s.state))
	mux.HandleFunc("GET /v1/objects", s.bounded(s.objects))
	mux.HandleFunc("POST /v1/gtid-subtract", s.bounded(s.gtidSubtract))
	mux.HandleFunc("POST /v1/gtid-beyond", s.bounded(s.gtidBeyond))
	mux.HandleFunc("POST /v1/lease", s.bounded(s.lease))
	mux.HandleFunc("POST /v1/checksums", s.bounded(s.checksums))
	for _, u := range []upgrading{tunnelling, backingUp} {
		mux.HandleFunc("GET "+u.path, func(w http.ResponseWriter, r *http.Request) { s.upgrade(w, r, u) })
	}
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		// Both count from the request's header and outlast every handler: the
		// end of ReadTimeout would cancel the context of one that still works.
		ReadTimeout:    answerTimeout + 10*time.Second,
		WriteTimeout:   answerTimeout + 10*time.Second,
		IdleTimeout:    90 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if a, ok := c.(*apiConn); ok {
				return context.WithValue(ctx, callerKey{}, a.node)
			}
			return ctx
		},
	}
	return s
}

type callerKey struct{}

// caller is the name in the certificate behind a request.
func caller(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

func (s *apiServer) serve() {
	if err := s.http.Serve(s.listener); err != nil && s.ctx.Err() == nil {
		s.log.Error("peer api ended", "err", err)
	}
}

func (s *apiServer) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.listener.Close()
	_ = s.http.Close()
	s.running.Wait()
}

// enter counts a handler in, false where the server is closed or full.
func (s *apiServer) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		s.running.Add(1)
		return true
	default:
		return false
	}
}

func (s *apiServer) leave() {
	<-s.slots
	s.running.Done()
}

// bounded runs a handler with a deadline and turns its answer, or its error,
// into HTTP.
func (s *apiServer) bounded(h func(context.Context, *Handlers, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			s.refuse(w, r, fmt.Errorf("too many requests at once: %w", errNotReady))
			return
		}
		defer s.leave()
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		handlers := s.handlers.Load()
		if handlers == nil {
			s.refuse(w, r, errNotReady)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		answer, err := h(ctx, handlers, r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		s.answer(w, http.StatusOK, answer)
	}
}

func (s *apiServer) state(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	return h.State(ctx, caller(r))
}

// inventory is what was made by SQL.
type inventory struct {
	Objects []string `json:"objects"`
}

func (s *apiServer) objects(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	list, err := h.Objects(ctx, caller(r))
	return inventory{list}, err
}

// subtraction is a - b, asked and answered.
type subtraction struct {
	A      string `json:"a,omitempty"`
	B      string `json:"b,omitempty"`
	Result string `json:"result"`
}

func (s *apiServer) gtidSubtract(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	var req subtraction
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	result, err := h.GTIDSubtract(ctx, caller(r), req.A, req.B)
	return subtraction{Result: result}, err
}

// comparison is what of a set the primary does not have, asked and answered.
type comparison struct {
	Set        string `json:"set,omitempty"`
	ServerID   uint32 `json:"server_id,omitempty"`
	Executed   string `json:"executed,omitempty"`   // of the primary
	Replicated string `json:"replicated,omitempty"` // of the primary
	Result     string `json:"result"`
}

func (s *apiServer) gtidBeyond(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	var req comparison
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	result, err := h.GTIDBeyond(ctx, caller(r), req.Set, req.ServerID, watchdog.Observation{Executed: req.Executed, Replicated: req.Replicated})
	return comparison{Result: result}, err
}

func (s *apiServer) lease(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return h.Lease(ctx, caller(r), body)
}

func (s *apiServer) checksums(ctx context.Context, h *Handlers, r *http.Request) (any, error) {
	var order watchdog.ChecksumOrder
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if h.Checksums == nil {
		return nil, errors.New("this node makes no checksums")
	}
	return h.Checksums(ctx, caller(r), order)
}

func (s *apiServer) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, p := problemOf(err)
	s.log.Debug("peer request refused", "caller", caller(r), "path", r.URL.Path, "status", status, "err", err)
	s.answer(w, status, p)
}

// answer writes v as JSON, or as it is where it is bytes.
func (s *apiServer) answer(w http.ResponseWriter, status int, v any) {
	body, raw := v.([]byte)
	kind := "application/octet-stream"
	if !raw {
		kind = "application/json"
		var err error
		if body, err = json.Marshal(v); err != nil {
			s.log.Error("encode an answer", "err", err)
			status, body = http.StatusInternalServerError, []byte(`{"code":"failed","error":"encode the answer"}`)
		}
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that is gone is no news
}
