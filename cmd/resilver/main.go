// Command resilver is the sidecar and its command line. See resilver --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"resilver/cmd/internal/cli"
)

// version is set by the build.
var version string

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	failpoint, err := parseFailpoints(os.Getenv("RESILVER_FAILPOINT"))
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "resilver: "+err.Error())
		return 2
	}
	return cli.Program{
		Version: buildVersion(), Failpoint: failpoint, Environ: os.Environ(),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}.Main(ctx, os.Args[1:])
}

// buildVersion is the version of the build, else that of the commit.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "0.0.0-" + s.Value[:12]
		}
	}
	return "0.0.0-dev"
}
