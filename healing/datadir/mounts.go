package datadir

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// mounts reads the mount points of this process.
func mounts() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount points: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

// parseMounts reads the fifth field of each line of a mountinfo file
// (proc(5)), in which blanks are written as octal escapes.
func parseMounts(r io.Reader) ([]string, error) {
	var out []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("read the mount points: line %q is too short", lines.Text())
		}
		out = append(out, unescapeMount(fields[4]))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the mount points: %w", err)
	}
	return out, nil
}

func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mountedAt says whether path itself is among the mount points, and which are
// below it.
func mountedAt(points []string, path string) (self bool, below []string) {
	for _, p := range points {
		switch {
		case p == path:
			self = true
		case strings.HasPrefix(p, path+"/"):
			below = append(below, p)
		}
	}
	return self, below
}
