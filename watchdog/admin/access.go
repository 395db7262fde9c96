package admin

import (
	"context"
	"net"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// caller is the process at the other end of a connection.
type caller struct {
	uid, gid uint32
	known    bool // the kernel vouched for it
}

type callerKey struct{}

// withCaller reads the peer's credentials into the connection's context. They
// are those of the moment of connect, and cannot be forged.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	var who caller
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					who = caller{uid: cred.Uid, gid: cred.Gid, known: true}
				}
			})
		}
	}
	return context.WithValue(ctx, callerKey{}, who)
}

func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// name is how the caller is written down.
func (c caller) name() string {
	if !c.known {
		return "unknown"
	}
	id := strconv.FormatUint(uint64(c.uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// access says who may read and who may write.
type access struct {
	self             uint32 // the sidecar's own uid
	readers, writers []string
}

func (a access) mayWrite(c caller) bool {
	return c.known && (c.uid == 0 || c.uid == a.self || listed(c, a.writers))
}

func (a access) mayRead(c caller) bool { return c.known && (a.mayWrite(c) || listed(c, a.readers)) }

// listed says whether the list names the caller or one of its groups, by name
// or number. What cannot be looked up matches nothing.
func listed(c caller, list []string) bool {
	if len(list) == 0 {
		return false
	}
	uid, gid := strconv.FormatUint(uint64(c.uid), 10), strconv.FormatUint(uint64(c.gid), 10)
	users, gids := []string{uid}, []string{gid}
	if u, err := user.LookupId(uid); err == nil {
		users = append(users, u.Username)
		if more, err := u.GroupIds(); err == nil {
			gids = append(gids, more...)
		}
	}
	return slices.ContainsFunc(list, func(entry string) bool {
		group, isGroup := strings.CutPrefix(entry, "%")
		if !isGroup {
			return slices.Contains(users, entry)
		}
		if g, err := user.LookupGroup(group); err == nil {
			group = g.Gid
		}
		return slices.Contains(gids, group)
	})
}
