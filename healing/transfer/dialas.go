package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DialAsCommand is the hidden command that a child of ours is started with;
// its main is DialAsMain.
const DialAsCommand = "dial-as"

const (
	dialTimeout = 10 * time.Second
	// selfExe works also where the path to the binary is closed to the user
	// that the child runs as.
	selfExe = "/proc/self/exe"
	// dialed is the message that comes with the descriptor; any other is an
	// error in words.
	dialed   = "\x00dialed"
	sendFD   = 3 // the child's end of the socket pair
	maxReply = 512
)

// DialAs connects to a unix socket so that the server at the other end sees
// the named system user. SO_PEERCRED is fixed when a socket connects, so where
// this process is root, a child without rights does it and passes the
// connection back; a socket dialled by root is never returned. A process that
// is not root can only dial as itself, and does.
func DialAs(ctx context.Context, name, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if os.Geteuid() != 0 {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("dial mysqld's socket: %w", err)
		}
		return conn, nil
	}
	cred, err := credentialOf(name)
	if err != nil {
		return nil, err
	}
	conn, err := dialInChild(ctx, cred, socket)
	if err != nil {
		return nil, fmt.Errorf("dial mysqld's socket as %s: %w", name, err)
	}
	return conn, nil
}

// credentialOf finds a user who is not root, with no supplementary groups.
func credentialOf(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, errors.New("no user to dial mysqld's socket as: set donor.os_user")
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("find the user to dial mysqld's socket as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find the user %s: uid %q is no number", name, u.Uid)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find the user %s: gid %q is no number", name, u.Gid)
	}
	if uid == 0 || gid == 0 {
		return nil, fmt.Errorf("user %s is root or of its group: mysqld's socket is never dialled as root", name)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func dialInChild(ctx context.Context, cred *syscall.Credential, socket string) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ours.Close() }()
	cmd := exec.CommandContext(ctx, selfExe, DialAsCommand, socket)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start the child that dials: %w", err)
	}
	conn, err := receiveConn(ctx, ours)
	if waitErr := cmd.Wait(); waitErr != nil && err == nil {
		err = errors.Join(fmt.Errorf("child that dials: %w", waitErr), conn.Close())
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "dial-as")
	theirs := os.NewFile(uintptr(fds[1]), "dial-as child")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// receiveConn reads the child's answer: the connection, or why there is none.
func receiveConn(ctx context.Context, from *net.UnixConn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	reply, oob := make([]byte, maxReply), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := from.ReadMsgUnix(reply, oob)
	if err != nil {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("hear of the child that dials: %w", err))
	}
	if n == 0 {
		return nil, errors.New("the child that dials ended without an answer")
	}
	files, err := receivedFiles(oob[:oobn])
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	switch {
	case err != nil:
		return nil, err
	case string(reply[:n]) != dialed:
		return nil, errors.New(string(reply[:n]))
	case len(files) != 1:
		return nil, fmt.Errorf("the child that dials sent %d descriptors", len(files))
	}
	conn, err := net.FileConn(files[0])
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	return conn, nil
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read the child's descriptor: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return files, fmt.Errorf("read the child's descriptor: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "dialed"))
		}
	}
	return files, nil
}

// DialAsMain is the child's main: it connects to the unix socket that its only
// argument names and sends the connection over descriptor 3. It refuses to do
// so as root. It returns the exit status.
func DialAsMain(args []string) int {
	reply, rights := []byte(dialed), []byte(nil)
	fd, err := dialForParent(args)
	if err != nil {
		reply = []byte(err.Error())
		reply = reply[:min(len(reply), maxReply)]
	} else {
		rights = unix.UnixRights(fd)
	}
	if err := unix.Sendmsg(sendFD, reply, rights, nil, 0); err != nil {
		return 1
	}
	return 0
}

func dialForParent(args []string) (int, error) {
	if len(args) != 1 {
		return -1, errors.New("want one argument, the path of a unix socket")
	}
	if os.Getuid() == 0 || os.Geteuid() == 0 || os.Getegid() == 0 {
		return -1, errors.New("still root: not dialling")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	// A backlog that is full makes connect wait: not longer than this.
	wait := unix.NsecToTimeval(int64(dialTimeout / 2))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return -1, fmt.Errorf("set a time-out: %w", err)
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: args[0]})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", args[0], err)
	}
	none := unix.Timeval{}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &none); err != nil {
		return -1, fmt.Errorf("lift the time-out: %w", err)
	}
	return fd, nil
}
