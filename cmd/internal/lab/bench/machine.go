package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where a run took place.
type Machine struct {
	Kernel    string  `json:"kernel"`
	System    string  `json:"system"`
	Processor string  `json:"processor"`
	Cores     int     `json:"cores"`
	Memory    float64 `json:"memory_bytes"`
	// Disk is the device and file system of the datadirs, Writes how fast it
	// took one file of 256 MiB and a sync, in bytes a second.
	Disk   string  `json:"disk"`
	Writes float64 `json:"disk_writes"`
}

// look describes this machine, and the disk beneath dir.
func look(dir string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), System: valueIn("/etc/os-release", "PRETTY_NAME", "="),
		Processor: valueIn("/proc/cpuinfo", "model name", ":")}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return m, fmt.Errorf("ask for the kernel: %w", err)
	}
	m.Kernel = fmt.Sprintf("%s %s %s", unix.ByteSliceToString(uts.Sysname[:]), unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]))
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("ask for the memory: %w", err)
	}
	m.Memory = float64(info.Totalram) * float64(info.Unit)
	var err error
	if m.Disk, err = diskOf(dir); err != nil {
		return m, err
	}
	m.Writes, err = writeSpeed(dir)
	return m, err
}

// valueIn is the first value of a key in a file of lines, without quotes;
// empty where there is none.
func valueIn(path, key, sign string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, sign); ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// diskOf is the device and file system that a directory lies on: those of the
// longest mount point above it.
func diskOf(dir string) (string, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("look for the disk: %w", err)
	}
	return diskIn(string(text), dir), nil
}

func diskIn(mounts, dir string) string {
	disk, longest := "", -1
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at := fields[1]
		if rel, err := filepath.Rel(at, dir); err != nil || rel == ".." || strings.HasPrefix(rel, "../") || len(at) < longest {
			continue
		}
		disk, longest = fields[0]+", "+fields[2], len(at)
	}
	return disk
}

func writeSpeed(dir string) (speed float64, err error) {
	const size = 256 << 20
	file, err := os.CreateTemp(dir, "speed-")
	if err != nil {
		return 0, fmt.Errorf("try the disk: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, 1<<20)
	began := time.Now()
	for range size / len(block) {
		if _, err := file.Write(block); err != nil {
			return 0, fmt.Errorf("try the disk: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("try the disk: %w", err)
	}
	return size / time.Since(began).Seconds(), nil
}

// version is what resilver says of itself.
func version(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "", fmt.Errorf("ask resilver for its version: %w", err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}
