package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// failpointPace is how often a waiting failpoint looks for its file.
const failpointPace = 20 * time.Millisecond

// parseFailpoints reads RESILVER_FAILPOINT, which crash tests set: a list with
// commas of point=kill (the process kills itself there) and point=wait:PATH
// (it makes PATH.reached and goes on once PATH exists). It returns nil for
// none.
func parseFailpoints(text string) (func(point string), error) {
	if text == "" {
		return nil, nil
	}
	actions := map[string]func(){}
	for entry := range strings.SplitSeq(text, ",") {
		point, action, _ := strings.Cut(entry, "=")
		path, wait := strings.CutPrefix(action, "wait:")
		switch {
		case point != "" && action == "kill":
			actions[point] = killSelf
		case point != "" && wait && path != "":
			actions[point] = func() { waitFor(path) }
		default:
			return nil, fmt.Errorf("RESILVER_FAILPOINT: %q is neither point=kill nor point=wait:PATH", entry)
		}
	}
	return func(point string) {
		if act, ok := actions[point]; ok {
			act()
		}
	}, nil
}

func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it arrives
}

// waitFor ends when the test that set the failpoint makes path; where the
// marker cannot be written nobody would ever make it, so it does not wait.
func waitFor(path string) {
	if err := os.WriteFile(path+".reached", nil, 0o600); err != nil {
		return
	}
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(failpointPace)
	}
}
