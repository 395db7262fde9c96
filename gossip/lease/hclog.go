package lease

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogPause is how often one message about one peer may be repeated: raft
// says "failed to contact" up to a hundred times a second.
const raftLogPause = 30 * time.Second

// raftLogger is an hclog.Logger over slog. Raft's info and below go to debug:
// its elections are not the operator's events, the node logs those itself.
type raftLogger struct {
	log  *slog.Logger
	name string
	args []any
	once *repeats
}

// repeats remembers when a message was last written.
type repeats struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newRaftLogger(l *slog.Logger) hclog.Logger {
	return &raftLogger{log: l, name: "raft", once: &repeats{last: map[string]time.Time{}}}
}

// first says whether the message may be written now.
func (r *repeats) first(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if last, ok := r.last[key]; ok && now.Sub(last) < raftLogPause {
		return false
	}
	if len(r.last) > 256 {
		clear(r.last)
	}
	r.last[key] = now
	return true
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Warn {
		to = slog.LevelWarn
	}
	if !l.log.Enabled(context.Background(), to) {
		return
	}
	if to == slog.LevelWarn && !l.once.first(msg+peerOf(args)) {
		return
	}
	attrs := append([]any{"from", l.name}, l.args...)
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		// A key of slog's own would stand in the line twice.
		if i%2 == 0 && (a == slog.TimeKey || a == slog.LevelKey || a == slog.MessageKey) {
			a = fmt.Sprint("raft_", a)
		}
		attrs = append(attrs, a)
	}
	l.log.Log(context.Background(), to, strings.ToLower(msg), attrs...)
}

// peerOf is the peer that a message is about.
func peerOf(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		if k, _ := args[i].(string); k == "peer" || k == "server-id" || k == "target" {
			return fmt.Sprint(" ", args[i+1])
		}
	}
	return ""
}

func (l *raftLogger) Trace(msg string, args ...any) {}
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *raftLogger) IsTrace() bool                 { return false }
func (l *raftLogger) IsDebug() bool                 { return l.log.Enabled(context.Background(), slog.LevelDebug) }
func (l *raftLogger) IsInfo() bool                  { return l.IsDebug() }
func (l *raftLogger) IsWarn() bool                  { return true }
func (l *raftLogger) IsError() bool                 { return true }
func (l *raftLogger) ImpliedArgs() []any            { return l.args }
func (l *raftLogger) Name() string                  { return l.name }
func (l *raftLogger) SetLevel(hclog.Level)          {}
func (l *raftLogger) GetLevel() hclog.Level         { return hclog.Debug }

func (l *raftLogger) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any(nil), l.args...), args...)
	return &c
}

func (l *raftLogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

func (l *raftLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return (*logWriter)(l) }

type logWriter raftLogger

func (w *logWriter) Write(b []byte) (int, error) {
	(*raftLogger)(w).Warn(strings.TrimSpace(string(b)))
	return len(b), nil
}
