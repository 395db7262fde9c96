package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Outcome is what became of the rebuild that something was killed under.
type Outcome string

// The outcomes. After OldData the node served its old data, broken as before,
// and another rebuild healed it.
const (
	Healed  Outcome = "healed"
	OldData Outcome = "old-data"
)

// Result is what came of a cell: a line of the results' file.
type Result struct {
	Cell
	Version  string        `json:"version"`  // of engine and server
	Revision string        `json:"revision"` // of this project
	Seed     uint64        `json:"seed"`
	Pause    time.Duration `json:"pause_ns"` // until what was killed was brought back
	Time     time.Time     `json:"time"`     // after the kill
	Outcome  Outcome       `json:"outcome"`
	Error    string        `json:"error"` // why the rebuild ended, where it did not heal
	// Served is how many seconds after the kill the replica was back in service,
	// on old or new data, 0 where it was in service all the while; Healed when
	// it replicated on its new data, with all tidied up.
	Served float64  `json:"served_seconds"`
	Healed float64  `json:"healed_seconds"`
	Left   []string `json:"left"` // files and processes that should not be there
	Passed bool     `json:"passed"`
	Reason string   `json:"reason"` // why not
}

// Append adds a result to the file, which is made where it is missing. What a
// run that was killed left of a line goes first.
func Append(file string, r *Result) (err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Both engines write to it.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	whole := int64(bytes.LastIndexByte(text, '\n') + 1)
	if _, err := f.WriteAt(append(line, '\n'), whole); err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	return nil
}

// Load reads the results in the order in which they were written. No file: no
// results. A last line without its end is that of a run that was killed, and
// not a result.
func Load(file string) (_ []Result, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var out []Result
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return out, nil // the last one has its end
		}
		var r Result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("read the results: %s:%d: %w", file, n, err)
		}
		out = append(out, r)
	}
}

// Left are the cells that have no result of a revision.
func Left(cells []Cell, results []Result, revision string) []Cell {
	done := map[Cell]bool{}
	for _, r := range results {
		done[r.Cell] = done[r.Cell] || r.Revision == revision
	}
	var out []Cell
	for _, c := range cells {
		if !done[c] {
			out = append(out, c)
		}
	}
	return out
}
