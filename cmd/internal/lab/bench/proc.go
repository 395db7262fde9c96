package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tick is the unit of processor time in /proc, in seconds: the kernel shows
// USER_HZ, which is 100 on every machine that Go runs on.
const tick = 0.01

// cpuOf is the processor time that a process has used, in seconds.
func cpuOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("look at a process: %w", err)
	}
	return cpuIn(text)
}

// cpuIn reads /proc/PID/stat, in which the name may hold anything.
func cpuIn(stat []byte) (float64, error) {
	_, rest, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	fields := strings.Fields(string(rest)) // from the third on: state
	if len(fields) < 13 {
		return 0, fmt.Errorf("look at a process: its stat is %q", stat)
	}
	sum := 0.0
	for _, field := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, fmt.Errorf("look at a process: %w", err)
		}
		sum += ticks * tick
	}
	return sum, nil
}

func usageOf(pid int) (usage, error) {
	var u usage
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, fmt.Errorf("look at a process: %w", err)
	}
	if u.rss, err = kilobytes(text, "Rss:"); err != nil {
		return u, err
	}
	if u.anonymous, err = kilobytes(text, "Anonymous:"); err != nil {
		return u, err
	}
	u.cpu, err = cpuOf(pid)
	return u, err
}

// kilobytes reads a line such as "Rss:   1234 kB" as bytes.
func kilobytes(text []byte, key string) (float64, error) {
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == key && fields[2] == "kB" {
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, fmt.Errorf("read %s: %w", key, err)
			}
			return n * 1024, nil
		}
	}
	return 0, fmt.Errorf("there is no %s", key)
}
