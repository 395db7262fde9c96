package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// claims is where this machine's labs keep each other off their addresses:
// a link by the number of the network to the lab's directory. A link whose
// directory is gone is free again.
const claims = "/tmp/resilver-lab.claims"

// claim takes a free network 127.0.X.0 for the lab in dir.
func claim(ctx context.Context, dir string, nodes int) (subnet int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	folder, err := claimsFolder()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	if err := flock(ctx, folder); err != nil {
		return 0, err
	}
	for x := 1; x <= 254; x++ {
		link := claimOf(x)
		if holder, err := os.Readlink(link); err == nil {
			if exists(holder) || os.Remove(link) != nil {
				continue // in use, or left behind by another user
			}
		}
		if !vacant(ctx, x, nodes) {
			continue
		}
		if err := os.Symlink(dir, link); err != nil {
			return 0, fmt.Errorf("claim a network: %w", err)
		}
		return x, nil
	}
	return 0, errors.New("claim a network: every 127.0.X.0 is taken; end a lab with resilver-lab down")
}

// claimsFolder opens the folder of claims, which all users of the machine share.
func claimsFolder() (*os.File, error) {
	err := os.Mkdir(claims, 0o755)
	if err == nil {
		err = os.Chmod(claims, 0o777|fs.ModeSticky)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder of claims: %w", err)
	}
	folder, err := os.Open(claims)
	if err != nil {
		return nil, fmt.Errorf("open the folder of claims: %w", err)
	}
	return folder, nil
}

func claimOf(subnet int) string { return filepath.Join(claims, strconv.Itoa(subnet)) }

// unclaim gives the network back, if the claim is still that of dir.
func unclaim(subnet int, dir string) error {
	holder, err := os.Readlink(claimOf(subnet))
	if err != nil || holder != dir {
		return nil //nolint:nilerr // no claim of ours: nothing to give back
	}
	if err := os.Remove(claimOf(subnet)); err != nil {
		return fmt.Errorf("give the network back: %w", err)
	}
	return nil
}

// vacant says that nobody listens on the ports a lab needs.
func vacant(ctx context.Context, subnet, nodes int) bool {
	for node := 1; node <= nodes; node++ {
		for _, port := range []int{mysqlPort, gossipPort, peerPort, httpPort} {
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, "tcp4", fmt.Sprintf("127.0.%d.%d:%d", subnet, node, port))
			if err != nil {
				return false
			}
			if err := l.Close(); err != nil {
				return false
			}
		}
	}
	return true
}
