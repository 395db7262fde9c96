package method

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

const (
	maxLine    = 600 // of a line, in bytes
	maxTail    = 20  // lines kept of the end
	maxReasons = 3   // lines in an error
)

// childLog keeps what matters of a program's standard error: its last lines,
// and those that complain. The tools write a line for every file.
type childLog struct {
	mu       sync.Mutex
	part     []byte   // of a line whose end has not come
	tail     []string // the last lines
	complain []string // the last ones that complain
}

// noise are lines about one file, whose name may say anything.
var noise = regexp.MustCompile(`Streaming |Copying |Compressing |Decompressing |Moving |\.\.\.done|DONE:|>> log scanned|\[Note\]`)

var complaint = regexp.MustCompile(`(?i)\b(errors?|fatal|failed|fails|cannot|can't|denied|missing|refused|invalid|corrupt\w*|errno|errcode)\b`)

// linePrefix is the thread and the time that the tools write before a line.
var linePrefix = regexp.MustCompile(`^\[\d+\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d |^\d{4}-\d\d-\d\d[T ]+[\d:.+-]+Z? \d+ |^[\d-]+T[\d:.]+(?:[+-][\d:]+|Z) `)

func (l *childLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(l.part); room > 0 {
			l.part = append(l.part, line[:min(len(line), room)]...)
		}
		if ended {
			l.line(string(l.part))
			l.part = l.part[:0]
		}
		rest = after
	}
	return len(p), nil
}

func (l *childLog) line(text string) {
	text = strings.TrimSpace(linePrefix.ReplaceAllString(strings.ToValidUTF8(text, "?"), ""))
	if text == "" {
		return
	}
	l.tail = keep(l.tail, text, maxTail)
	if complaint.MatchString(text) && !noise.MatchString(text) {
		l.complain = keep(l.complain, text, maxReasons)
	}
}

func keep(lines []string, text string, most int) []string {
	if lines = append(lines, text); len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return lines
}

// last is the last line that is not empty.
func (l *childLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		return strings.TrimSpace(string(l.part))
	}
	if len(l.tail) == 0 {
		return ""
	}
	return l.tail[len(l.tail)-1]
}

// reason is why the program failed, in its own words and one line.
func (l *childLog) reason() string {
	l.mu.Lock()
	complaints := strings.Join(l.complain, "; ")
	l.mu.Unlock()
	if complaints != "" {
		return complaints
	}
	return l.last()
}

// text is the end of what the program said.
func (l *childLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(append([]string{}, l.tail...), string(l.part)), "\n")
}
