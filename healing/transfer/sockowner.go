package transfer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Of linux/inet_diag.h: struct inet_diag_req_v2 is 56 bytes, inet_diag_msg 72.
const (
	diagReqLen = 56
	diagMsgLen = 72
)

var errNoSocket = errors.New("no such socket on this machine")

// socketOwner is the uid that owns the local TCP socket bound to local and
// connected to remote. The kernel fixed it when the socket was made. A socket
// that its process has let go of has no inode and no owner: the kernel would
// say root.
func socketOwner(local, remote netip.AddrPort) (uint32, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !local.Addr().Is4() || !remote.Addr().Is4() {
		return 0, errors.New("not an IPv4 socket")
	}
	uid, err := ownerByDiag(local, remote)
	if err == nil || errors.Is(err, errNoSocket) {
		return uid, err
	}
	uid, procErr := ownerByProc(local, remote)
	if procErr != nil {
		return 0, errors.Join(err, procErr)
	}
	return uid, nil
}

// ownerByDiag asks the kernel through NETLINK_SOCK_DIAG for exactly one socket.
func ownerByDiag(local, remote netip.AddrPort) (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open sock_diag: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	wait := unix.NsecToTimeval(int64(2 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return 0, fmt.Errorf("ask sock_diag: %w", err)
	}
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, diagRequest(local, remote), 0, kernel); err != nil {
		return 0, fmt.Errorf("ask sock_diag: %w", err)
	}
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("hear sock_diag: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		return diagAnswer(buf[:n], local, remote)
	}
}

func diagRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+diagReqLen)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(b[8:], 1) // sequence
	r := b[unix.SizeofNlMsghdr:]
	r[0], r[1] = unix.AF_INET, unix.IPPROTO_TCP
	ne.PutUint32(r[4:], ^uint32(0)) // in whatever state it is
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	src, dst := local.Addr().As4(), remote.Addr().As4()
	copy(r[12:], src[:])
	copy(r[28:], dst[:])
	for i := 48; i < 56; i++ {
		r[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

func diagAnswer(b []byte, local, remote netip.AddrPort) (uint32, error) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(msgs) == 0 {
		return 0, errors.Join(errors.New("sock_diag's answer cannot be read"), err)
	}
	m := msgs[0]
	if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
		if errno == unix.ENOENT {
			return 0, errNoSocket
		}
		return 0, fmt.Errorf("sock_diag: %w", errno)
	}
	if m.Header.Type != unix.SOCK_DIAG_BY_FAMILY || len(m.Data) < diagMsgLen {
		return 0, errors.New("sock_diag's answer is not of the expected kind")
	}
	d := m.Data
	src, dst := local.Addr().As4(), remote.Addr().As4()
	same := d[0] == unix.AF_INET &&
		binary.BigEndian.Uint16(d[4:]) == local.Port() && binary.BigEndian.Uint16(d[6:]) == remote.Port() &&
		[4]byte(d[8:12]) == src && [4]byte(d[24:28]) == dst
	uid, inode := binary.NativeEndian.Uint32(d[64:]), binary.NativeEndian.Uint32(d[68:])
	if !same || inode == 0 {
		return 0, errNoSocket
	}
	return uid, nil
}

// ownerByProc finds the socket in /proc/net/tcp, for where netlink is refused.
func ownerByProc(local, remote netip.AddrPort) (uint32, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0, fmt.Errorf("read the table of sockets: %w", err)
	}
	defer func() { _ = f.Close() }()
	return ownerInTable(f, local, remote)
}

func ownerInTable(table io.Reader, local, remote netip.AddrPort) (uint32, error) {
	wantLocal, wantRemote := procAddr(local), procAddr(remote)
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// sl local rem st queues timers retransmits uid timeout inode …
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[1] != wantLocal || f[2] != wantRemote {
			continue
		}
		if f[9] == "0" {
			return 0, errNoSocket
		}
		uid, err := strconv.ParseUint(f[7], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("read the table of sockets: uid %q", f[7])
		}
		return uint32(uid), nil
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read the table of sockets: %w", err)
	}
	return 0, errNoSocket
}

// procAddr writes an address as /proc/net/tcp does: the four bytes as one
// number in the machine's own order.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}
