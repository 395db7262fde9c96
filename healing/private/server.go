package private

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyInterval = 50 * time.Millisecond
	// reapTimeout is how long a killed process gets to be gone. One in
	// uninterruptible sleep may take longer.
	reapTimeout = 30 * time.Second
	// pipeGrace is how long output is still read from grandchildren that
	// outlive their parent; they are killed anyway.
	pipeGrace = 2 * time.Second
)

// Server is a running private mysqld. It dies with this process.
type Server struct {
	role   string
	work   *work
	pid    int
	logger *slog.Logger
	out    *tail
	after  func() // what is to be cleaned up once it is gone, may be nil

	done chan struct{} // closed once the process is reaped
	err  error         // how it ended; read after done
	last string        // the end of its log; read after done

	mu   sync.Mutex
	gone bool // ended; its number may be somebody else's soon
}

// launch is what a private server is started with.
type launch struct {
	role   string
	work   *work
	argv   []string
	boot   time.Duration // to be ready
	logger *slog.Logger
	after  func()
	covers []Cover
}

// run starts a private mysqld and returns once the process exists. The caller
// ends it.
func run(l launch) (*Server, error) {
	s := &Server{role: l.role, work: l.work, logger: l.logger, after: l.after, out: &tail{}, done: make(chan struct{})}
	cmd := exec.Command(l.argv[0], l.argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TMPDIR=" + l.work.place.tmp()}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: l.work.prog.credential()}
	started := make(chan error, 1)
	go s.own(cmd, l.covers, started)
	if err := <-started; err != nil {
		err = fmt.Errorf("start the %s server: %w", l.role, err)
		if s.pid != 0 {
			err = errors.Join(err, s.Kill())
		}
		return nil, err
	}
	l.logger.Info("private server started", "server", l.role, "pid", s.pid)
	return s, nil
}

// own starts the process and reaps it.
func (s *Server) own(cmd *exec.Cmd, covers []Cover, started chan<- error) {
	ended := make(chan struct{})
	if err := s.fork(cmd, covers, ended); err != nil {
		s.work.close()
		if s.after != nil {
			s.after()
		}
		started <- err
		return
	}
	s.pid = cmd.Process.Pid
	started <- s.work.record(s.pid) // as long as it is there, be it as a zombie
	<-ended
	// Still a zombie: its number, and its group's, are ours until reaped.
	s.mu.Lock()
	s.gone = true
	_ = syscall.Kill(-s.pid, syscall.SIGKILL)
	s.mu.Unlock()
	s.err = cmd.Wait()
	s.last = s.readLog()
	s.work.forget()
	s.work.close()
	if s.after != nil {
		s.after()
	}
	close(s.done)
}

// fork starts the process, and closes ended once it has. The kernel sends the
// parent-death signal when the thread that forked ends, so that thread stays
// until then; with covers, it has a mount namespace of its own, and ends too.
func (s *Server) fork(cmd *exec.Cmd, covers []Cover, ended chan<- struct{}) error {
	started := make(chan error, 1)
	start := func() error {
		err := cmd.Start()
		started <- err
		if err == nil {
			awaitExit(cmd.Process.Pid)
			close(ended)
		}
		return err
	}
	go func() {
		if len(covers) > 0 {
			_ = onThread(func() error {
				if err := enclose(covers, s.work.writable()); err != nil {
					started <- err
					return err
				}
				return start()
			})
			return
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = start()
	}()
	return <-started
}

// awaitExit waits until a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// ready waits until the server greets on its socket.
func (s *Server) ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready within %s", limit))
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return s.fault("boot")
		case <-ctx.Done():
			err := s.faultOf("boot", context.Cause(ctx))
			return errors.Join(err, s.Kill())
		case <-tick.C:
			if greets(ctx, s.work.place.Socket) {
				return nil
			}
		}
	}
}

// Socket is the path of its unix socket.
func (s *Server) Socket() string { return s.work.place.Socket }

// Done is closed once the process is gone.
func (s *Server) Done() <-chan struct{} { return s.done }

// Wait waits until the process is gone and says how it ended: nil for exit
// status 0.
func (s *Server) Wait() error {
	<-s.done
	if s.err != nil {
		return s.fault("run")
	}
	return nil
}

// during runs do for as long as the server runs. Where it ended that is the
// error, whatever do makes of it.
func (s *Server) during(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.done:
			cancel(s.fault("run"))
		}
	})
	err := do(ctx)
	select {
	case <-s.done:
		return s.fault("run")
	default:
		return err
	}
}

// Shutdown ends the server cleanly. If it has not ended when ctx does, or
// ends with a status other than 0, that is an error, and the process is gone
// all the same.
func (s *Server) Shutdown(ctx context.Context) error {
	s.signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-ctx.Done():
		return errors.Join(s.faultOf("shut down", context.Cause(ctx)), s.Kill())
	}
	if s.err != nil {
		return s.fault("shut down")
	}
	return nil
}

// Kill ends the server at once, and returns when it is gone. It may be called
// at any time, and more than once.
func (s *Server) Kill() error {
	s.signal(syscall.SIGKILL)
	timer := time.NewTimer(reapTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("kill the %s server: process %d is not gone after %s", s.role, s.pid, reapTimeout)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(-s.pid, sig)
	}
	_ = syscall.Kill(s.pid, sig)
}

// credential is whom the process runs as; without supplementary groups.
func (p Program) credential() *syscall.Credential {
	if syscall.Geteuid() != 0 {
		return nil // check has seen that we are that user
	}
	return &syscall.Credential{Uid: p.UID, Gid: p.GID}
}
