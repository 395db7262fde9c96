package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// place is where a lab keeps what it fetched and what it makes.
type place struct {
	servers string // unpacked servers and templates, kept between labs
	labs    string // a directory for each lab
}

// serversFolder is the ignored folder of the repository for servers.
const serversFolder = ".servers"

// longestLab is the longest name that NewDir makes below place.labs.
const longestLab = "demo-4294967295"

// plainPath are the paths that MariaDB's scripts can work in.
var plainPath = regexp.MustCompile(`^[\w/.,+@-]+$`)

// choosePlace takes the repository's own ignored folders. Where there is no
// repository around, its path is too long for unix sockets or not plain, or
// mysqld's user could not walk into it, the machine's cache serves.
func choosePlace(id identity) (place, error) {
	repo := repository()
	if plainPath.MatchString(repo) && len(filepath.Join(repo, ".lab", longestLab)) <= maxPath {
		ok, err := id.mayReach(repo)
		if err != nil {
			return place{}, err
		}
		if ok {
			return place{servers: filepath.Join(repo, serversFolder), labs: filepath.Join(repo, ".lab")}, nil
		}
	}
	labs := filepath.Join("/var/tmp", fmt.Sprintf("resilver-lab-%d", os.Getuid()))
	if id.root {
		return place{servers: "/var/cache/resilver-lab", labs: labs}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return place{}, fmt.Errorf("find the user's cache: %w", err)
	}
	return place{servers: filepath.Join(cache, "resilver-lab"), labs: labs}, nil
}

// link lets those who look for a server in the repository find one that is
// kept elsewhere.
func (p place) link() error {
	repo := repository()
	if repo == "" || exists(filepath.Join(repo, serversFolder)) {
		return nil
	}
	if link := filepath.Join(repo, serversFolder); link != p.servers {
		if err := os.Symlink(p.servers, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("name the servers' place in the repository: %w", err)
		}
	}
	return nil
}

// DefaultDir is the directory of the lab that resilver-lab means where none
// is named.
func DefaultDir() (string, error) {
	id, err := whoami()
	if err != nil {
		return "", err
	}
	p, err := choosePlace(id)
	if err != nil {
		return "", err
	}
	return filepath.Join(p.labs, "default"), nil
}

// repository finds the root of resilver's source, above the working directory
// or beside the folder of this program; empty where there is none.
func repository() string {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && bytes.HasPrefix(mod, []byte("module resilver\n")) {
				return dir
			}
			if dir == "/" {
				break
			}
		}
	}
	return ""
}

// withLock runs f while this process alone holds the lock file.
func withLock(ctx context.Context, path string, f func() error) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open a lock: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := flock(ctx, file); err != nil {
		return err
	}
	return f()
}

// flock waits for the lock on an open file; closing the file gives it back.
func flock(ctx context.Context, file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			if err != nil {
				return fmt.Errorf("lock %s: %w", file.Name(), err)
			}
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the lock %s: %w", file.Name(), err)
		}
	}
}

// pause waits, but not longer than the context lives.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
