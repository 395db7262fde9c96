package gossip

import (
	"context"
	"log"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// quiet is how long a line that repeats is kept at debug.
const quiet = 30 * time.Second

// hints say what lines of memberlist's mean that do not explain themselves.
var hints = []struct{ part, hint string }{
	{"unacceptable label", "a node of another cluster: compare cluster.name, and the addresses in cluster.join"},
	{"label header", "a node of another cluster: compare cluster.name, and the addresses in cluster.join"},
	{"installed keys could decrypt", "a node with another gossip key: compare cluster.gossip_key_file"},
	{"remote state is encrypted", "the other node has a gossip key and this one has none: compare cluster.gossip_key_file"},
	{"encryption is configured but remote state is not", "the other node has no gossip key: compare cluster.gossip_key_file"},
	{"read/write on closed pipe", "the other node closed the connection: perhaps another cluster.name or gossip key"},
	{"Conflicting address", "two nodes go by one name: compare node.name"},
	{"UDP probes failed", "TCP works and UDP does not: open the gossip port for UDP too"},
}

// listLogger takes memberlist's lines: "[LEVEL] memberlist: text".
type listLogger struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time
}

func newListLogger(l *slog.Logger) *log.Logger {
	return log.New(&listLogger{log: l, last: map[string]time.Time{}}, "", 0)
}

// Write logs one line.
func (l *listLogger) Write(b []byte) (int, error) {
	level, text := parseLine(string(b))
	attrs := []slog.Attr{slog.String("line", text)}
	for _, h := range hints {
		if strings.Contains(text, h.part) {
			attrs = append(attrs, slog.String("hint", h.hint))
			level = max(level, slog.LevelWarn)
			break
		}
	}
	if level > slog.LevelDebug && l.repeats(text) {
		level = slog.LevelDebug
	}
	l.log.LogAttrs(context.Background(), level, "memberlist", attrs...)
	return len(b), nil
}

// parseLine reads the level in brackets; a line without one is a warning.
func parseLine(line string) (slog.Level, string) {
	line = strings.TrimSpace(line)
	level, text := slog.LevelWarn, line
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if word, after, ok := strings.Cut(rest, "]"); ok {
			text = strings.TrimSpace(after)
			switch word {
			case "DEBUG":
				level = slog.LevelDebug
			case "INFO":
				level = slog.LevelInfo
			case "ERR", "ERROR":
				level = slog.LevelError
			}
		}
	}
	return level, strings.TrimPrefix(text, "memberlist: ")
}

// portNumber is what differs between two lines about the same.
var portNumber = regexp.MustCompile(`:[0-9]+`)

// repeats says that the same line, port numbers aside, was logged a moment ago.
func (l *listLogger) repeats(text string) bool {
	key := portNumber.ReplaceAllString(text, "")
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.last[key]; ok && now.Sub(t) < quiet {
		return true
	}
	if len(l.last) > 256 {
		clear(l.last)
	}
	l.last[key] = now
	return false
}
