package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dialTimeout bounds the question who listens on a socket.
const dialTimeout = 2 * time.Second

// Identify says where a server leaves its traces. Datadir must be given, and
// at least one of the others.
type Identify struct {
	Datadir string
	Home    string // where the system tablespace lies, innodb_data_home_dir; empty: in Datadir
	Socket  string
	PIDFile string
}

// HomeOf is the Home of a server on that datadir with these variables.
func HomeOf(datadir string, variables map[string]string) string {
	home := variables["innodb_data_home_dir"]
	if !filepath.IsAbs(home) {
		home = filepath.Join(datadir, home)
	}
	return filepath.Clean(home)
}

// witness is one trace: the process it names, nobody, or why it cannot tell.
type witness struct {
	name    string
	pid     int // 0: nobody
	unknown error
}

// FindProcess identifies the running server. At least two of pid file, socket
// and lock on the datadir must name the same process and none another one;
// ErrNotRunning means that all say that nobody is there, everything else is
// ErrUnsure with the reason.
func FindProcess(ctx context.Context, id Identify) (*Process, error) {
	if id.Datadir == "" || id.Socket == "" && id.PIDFile == "" {
		return nil, errors.New("find mysqld: datadir, and socket or pid file, are needed to identify it")
	}
	pid, err := identify(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("find mysqld: %w", err)
	}
	p, err := openProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("find mysqld: %w: %w", ErrUnsure, err)
	}
	// Once more, now that the pidfd holds the process and not just its number.
	if again, err := identify(ctx, id); err != nil || again != pid {
		_ = p.Close()
		return nil, fmt.Errorf("find mysqld: %w: it changed while it was looked at", ErrUnsure)
	}
	if id.Socket != "" {
		p.Sockets = []string{id.Socket}
	}
	return p, nil
}

func identify(ctx context.Context, id Identify) (int, error) {
	var all []witness
	if id.Home == "" {
		id.Home = id.Datadir
	}
	all = append(all, lockWitness(id.Home))
	if id.Socket != "" {
		all = append(all, socketWitness(ctx, id.Socket))
	}
	if id.PIDFile != "" {
		all = append(all, pidFileWitness(id.PIDFile))
	}
	return agree(all, func(pid int) bool { return worksIn(pid, id.Datadir) })
}

// agree is the verdict over the witnesses. A pid file that outlived its server
// may name an unrelated process: when nobody else knows of a server, it is
// believed only if that process works in the datadir.
func agree(all []witness, worksIn func(pid int) bool) (int, error) {
	var named, unknown []witness
	for _, w := range all {
		switch {
		case w.unknown != nil:
			unknown = append(unknown, w)
		case w.pid != 0:
			named = append(named, w)
		}
	}
	for i := 1; i < len(named); i++ {
		if named[i].pid != named[0].pid {
			return 0, fmt.Errorf("%w: the %s names process %d, the %s process %d", ErrUnsure,
				named[0].name, named[0].pid, named[i].name, named[i].pid)
		}
	}
	if len(named) >= 2 {
		return named[0].pid, nil
	}
	if len(unknown) > 0 {
		return 0, fmt.Errorf("%w: the %s cannot tell: %w", ErrUnsure, unknown[0].name, unknown[0].unknown)
	}
	if len(named) == 1 && (named[0].name != pidFileName || worksIn(named[0].pid)) {
		return 0, fmt.Errorf("%w: only the %s names a process, %d", ErrUnsure, named[0].name, named[0].pid)
	}
	return 0, ErrNotRunning
}

const pidFileName = "pid file"

func pidFileWitness(path string) witness {
	w := witness{name: pidFileName}
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w
	}
	if err != nil {
		w.unknown = err
		return w
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		w.unknown = fmt.Errorf("%s holds no process id", path)
		return w
	}
	switch _, err := readStat(pid); {
	case err == nil:
		w.pid = pid
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH):
		w.unknown = err
	}
	return w
}

// readSmall reads a file that mysqld's user may have put there: no more than a
// number needs, and no link, device or pipe, the opening of which could do
// something or wait for ever.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err)
	}
	return io.ReadAll(io.LimitReader(f, 32))
}

// socketWitness asks the kernel who called listen(2) on the socket
// (SO_PEERCRED, unix(7)).
func socketWitness(ctx context.Context, path string) witness {
	w := witness{name: "socket"}
	conn, err := dialSocket(ctx, path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return w
	}
	if err != nil {
		w.unknown = err
		return w
	}
	defer conn.Close()
	cred, err := peer(conn)
	switch {
	case err != nil:
	case cred.Pid <= 0:
		err = errors.New("its process cannot be seen from here")
	case cred.Pid == 1 && !isServer(1):
		err = errors.New("the service manager opened it for the server (socket activation)")
	}
	if err != nil {
		w.unknown = err
		return w
	}
	w.pid = int(cred.Pid)
	return w
}

// isServer says whether process pid is a mysqld by its command line, as process
// 1 of a container may be.
func isServer(pid int) bool {
	cmdline, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil {
		return false
	}
	_, err = SplitProgram(strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"))
	return err == nil
}

func dialSocket(ctx context.Context, path string) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// peer returns the credentials of the other end of a unix socket.
func peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return nil, fmt.Errorf("read peer credentials: %w", err)
	}
	return cred, nil
}

// lockWitness asks who holds InnoDB's lock on the system tablespace.
func lockWitness(home string) witness {
	w := witness{name: "lock on the datadir"}
	path := filepath.Join(home, "ibdata1")
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return w
	}
	if err != nil {
		w.unknown = err
		return w
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	switch err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); {
	case err != nil:
		w.unknown = fmt.Errorf("read the lock on %s: %w", path, err)
	case lock.Type == unix.F_UNLCK:
	case lock.Pid <= 0:
		w.unknown = fmt.Errorf("the holder of the lock on %s cannot be seen", path)
	default:
		w.pid = int(lock.Pid)
	}
	return w
}

// worksIn says whether the working directory of process pid is the datadir,
// which mysqld makes it. Where that cannot be read, it says yes.
func worksIn(pid int, datadir string) bool {
	cwd, err := os.Stat(procFile(pid, "cwd"))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	dir, err := os.Stat(datadir)
	return err != nil || os.SameFile(cwd, dir)
}

// FindBooting takes the manager's word for which process is the server where
// it has neither socket nor pid file yet: its child must hold the lock on the
// datadir, or work in it, and nobody else may hold the lock. Home is as
// Identify has it.
func FindBooting(pid int, datadir, home string) (*Process, error) {
	lock := lockWitness(home)
	switch {
	case lock.unknown != nil:
		return nil, fmt.Errorf("find mysqld: %w: the %s cannot tell: %w", ErrUnsure, lock.name, lock.unknown)
	case lock.pid != 0 && lock.pid != pid:
		return nil, fmt.Errorf("find mysqld: %w: the %s names process %d, its manager %d", ErrUnsure, lock.name, lock.pid, pid)
	case lock.pid == 0 && !worksIn(pid, datadir):
		return nil, fmt.Errorf("find mysqld: %w: process %d does not work in %s", ErrUnsure, pid, datadir)
	}
	p, err := openProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("find mysqld: %w: %w", ErrUnsure, err)
	}
	return p, nil
}
