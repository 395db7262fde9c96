package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// A backup's stream is asked for by the tool's name and a number, under the
// lease, and refused like a tunnel.
func TestBackupStream(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	h := refuse()
	handle(t, b, h)
	if _, err := a.Client().Backup(within(t), "db2", "c1", 42, "mariabackup", 2); err == nil || !strings.Contains(err.Error(), "gives no backups") {
		t.Errorf("a node without backups: %v", err)
	}
	h.Backup = func(_ context.Context, req BackupRequest) (func(context.Context, net.Conn), error) {
		switch req.Token {
		case 41:
			return nil, fmt.Errorf("look: %w", watchdog.ErrTokenStale)
		case 43:
			return nil, fmt.Errorf("look: %w", watchdog.ErrTokenAhead)
		}
		return func(_ context.Context, conn net.Conn) {
			fmt.Fprintf(conn, "%s %s %d %s %d", req.Caller, req.ClusterID, req.Token, req.Tool, req.Parallel)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}, nil
	}
	handle(t, b, h)
	conn, err := a.Client().Backup(within(t), "db2", "c1", 42, "mariabackup", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "db1 c1 42 mariabackup 2" {
		t.Errorf("%q, %v", got, err)
	}
	for token, want := range map[uint64]error{41: watchdog.ErrTokenStale, 43: watchdog.ErrTokenAhead} {
		if _, err := a.Client().Backup(within(t), "db2", "c1", token, "mariabackup", 0); !errors.Is(err, want) {
			t.Errorf("token %d: %v", token, err)
		}
	}
}

// What a request could smuggle into a command line is refused at the port.
func TestBackupRequestCarriesNamesAndNumbersOnly(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	h := refuse()
	h.Backup = func(context.Context, BackupRequest) (func(context.Context, net.Conn), error) {
		t.Error("a bad request was handed on")
		return nil, errors.New("no")
	}
	handle(t, b, h)
	for _, bad := range []struct {
		tool     string
		parallel int
	}{{"", 1}, {"--x", 1}, {"/bin/sh", 1}, {"a b", 1}, {"..", 1}, {"mariabackup", -1}, {"mariabackup", maxParallel + 1}} {
		_, err := a.Client().Backup(within(t), "db2", "c1", 1, bad.tool, bad.parallel)
		var remote *RemoteError
		if !errors.As(err, &remote) || remote.Status != http.StatusBadRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
