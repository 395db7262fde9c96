package private

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	tailBytes   = 16 << 10
	greetBudget = time.Second
	maxReasons  = 3
)

// Fault is a private server that did not do what it was started for, with
// what it said itself.
type Fault struct {
	Role   string // scratch, rehearsal or template
	Action string // boot, run or shut down
	Reason string // its own [ERROR] lines, the first ones, in one line
	Tail   string // the end of its log
	Log    string // the log's path
	Err    error
}

func (f *Fault) Error() string {
	text := fmt.Sprintf("%s the %s server: %v", f.Action, f.Role, f.Err)
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text + " (log: " + f.Log + ")"
}

func (f *Fault) Unwrap() error { return f.Err }

// fault is how an ended server failed.
func (s *Server) fault(action string) error {
	err := s.err
	if err == nil {
		err = fmt.Errorf("it ended by itself")
	}
	return s.faultOf(action, err)
}

func (s *Server) faultOf(action string, err error) error {
	text := s.log()
	return &Fault{Role: s.role, Action: action, Reason: reasons(text), Tail: text, Log: s.work.place.log(), Err: err}
}

// log is the end of what the server wrote so far.
func (s *Server) log() string {
	select {
	case <-s.done:
		return s.last
	default:
		return s.readLog()
	}
}

// readLog is the end of its log, its standard error first.
func (s *Server) readLog() string {
	text := s.out.String()
	f, info, err := openRegular(s.work.root, "mysqld.err")
	if err != nil {
		return text
	}
	defer func() { _ = f.Close() }()
	if info.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return text
		}
	}
	b, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	return text + string(b)
}

// errorLine is an [ERROR] line of mysqld's log: what follows the time, the
// thread and the label.
var errorLine = regexp.MustCompile(`\[ERROR\] (?:\[(MY-\d+)\] )?(?:\[\w+\] )?(.*)`)

// reasons are the first [ERROR] lines of a log, joined; the last line where
// there is none.
func reasons(text string) string {
	var out []string
	last := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		last = line
		m := errorLine.FindStringSubmatch(line)
		if m == nil || m[2] == "Aborting" || len(out) == maxReasons {
			continue
		}
		out = append(out, strings.TrimSpace(m[1]+" "+m[2]))
	}
	if len(out) == 0 {
		return last
	}
	return strings.Join(out, "; ")
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = bytes.Clone(t.b[over:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// greets says that a server takes sessions on the socket: it sends the first
// packet of the protocol, which begins with version 10 after its header.
func greets(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, greetBudget)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	var head [5]byte
	_, err = io.ReadFull(conn, head[:])
	return err == nil && head[4] == 10
}
