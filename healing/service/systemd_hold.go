package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// holdFile is what a hold file says: which boot of the machine it is of, and
// what has to be started again with the server.
type holdFile struct {
	Boot    string   `json:"boot"`
	Held    bool     `json:"held"` // false: released, and what was stopped waits for Start
	Stopped []string `json:"stopped"`
}

// HeldBy says whether a hold file keeps mysqld from being started. One of an
// earlier boot of the machine does not: whoever wrote it is gone, and the
// journal says what is left to be done.
func HeldBy(path string) (bool, error) {
	h, err := readHold(path)
	return h != nil && h.Held, err
}

// readHold returns nil where there is none of this boot.
func readHold(path string) (*holdFile, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the hold: %w", err)
	}
	h := new(holdFile)
	if err := json.Unmarshal(data, h); err != nil {
		return nil, fmt.Errorf("read the hold %s: %w", path, err)
	}
	boot, err := bootID()
	if err != nil || h.Boot != boot {
		return nil, err
	}
	return h, nil
}

// writeHold holds; what an earlier hold of this boot has stopped stays in it.
func writeHold(path string, stopped []string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	h := holdFile{Boot: boot, Held: true, Stopped: slices.Clone(stopped)}
	if old, err := readHold(path); err == nil && old != nil {
		h.Stopped = append(h.Stopped, old.Stopped...)
	}
	slices.Sort(h.Stopped)
	h.Stopped = slices.Compact(h.Stopped)
	return h.save(path)
}

func (h holdFile) save(path string) error {
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write the hold: %w", err)
	}
	if err := renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write the hold: %w", err)
	}
	return nil
}

// Release lets mysqld be started by others, too: a swap was completed without
// the sidecar that held it. No hold is fine.
func Release(path string) error {
	h, err := readHold(path)
	if err != nil || h == nil {
		return err
	}
	h.Held = false
	return h.save(path)
}

// liftHold removes the hold and returns what was stopped under it.
func liftHold(path string) ([]string, error) {
	h, err := readHold(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lift the hold: %w", err)
	}
	if h == nil {
		return nil, nil
	}
	return h.Stopped, nil
}

// bootID names this boot of the machine, or of the container with a process 1
// of its own.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot's id: %w", err)
	}
	first, err := readStat(1)
	if err != nil {
		return "", fmt.Errorf("read the boot's id: %w", err)
	}
	return fmt.Sprintf("%s-%d", strings.TrimSpace(string(id)), first.ticks), nil
}

// HoldPath is the hold file in a state directory.
func HoldPath(stateDir string) string { return filepath.Join(stateDir, "hold.json") }
