package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// janitorEnv makes a program that calls Janitor into one.
const janitorEnv = "RESILVER_LAB_JANITOR"

// Janitor must be the first call of a program that uses Tether. In an
// ordinary start it does nothing. In the copy of the program that Tether
// started, it waits for the end of the first one, removes the lab that is
// still there, and exits.
func Janitor() {
	dir := os.Getenv(janitorEnv)
	if dir == "" {
		return
	}
	_, err := io.Copy(io.Discard, os.Stdin) // until the other end is gone
	if err == nil {
		err = clearAway(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// clearAway removes the lab in dir, if there is one, or the directory that was
// to become one.
func clearAway(dir string) error {
	if !exists(filepath.Join(dir, setupFile)) {
		_ = os.Remove(dir) // gone already, or not empty and so not the lab's
		return nil
	}
	c, err := Open(dir, os.Stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return c.Down(ctx)
}

// Tether binds the lab that is, or will be, in dir to the life of this
// process: however it ends, by SIGKILL too, the lab is ended and removed. It
// returns the knot's end: release gives the janitor leave, which then removes
// what is left, and waits for it.
func Tether(dir string) (release func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("tether the lab: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), janitorEnv+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	line, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("tether the lab: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("tether the lab: %w", err)
	}
	return func() error {
		if err := errors.Join(line.Close(), cmd.Wait()); err != nil {
			return fmt.Errorf("clear the lab away: %w", err)
		}
		return nil
	}, nil
}
