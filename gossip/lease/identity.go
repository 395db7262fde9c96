package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/raft"
)

// Files in the state directory.
const (
	identityFile = "node-id"
	storeFile    = "raft.db"
	ballastFile  = "ballast"
)

// incarnationKey is where the store itself keeps the incarnation it belongs
// to, so that a log and an identity of different lives are never put together.
var incarnationKey = []byte("resilver-incarnation")

var incarnationForm = regexp.MustCompile(`^[0-9a-f]{8}$`)

// incarnation is this node's, made anew where there is no log: a wiped node is
// a new member, and never the old voter with an empty log.
func incarnation(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)
	_, err := os.Stat(filepath.Join(dir, storeFile))
	if errors.Is(err, fs.ErrNotExist) {
		inc := randomHex(4)
		if err := renameio.WriteFile(path, []byte(inc+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("write node id: %w", err)
		}
		return inc, nil
	}
	if err != nil {
		return "", fmt.Errorf("look for raft state: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", damaged(dir, fmt.Errorf("read node id: %w", err))
	}
	inc := strings.TrimSpace(string(b))
	if !incarnationForm.MatchString(inc) {
		return "", damaged(dir, fmt.Errorf("%s holds no node id", path))
	}
	return inc, nil
}

// damaged says what a person can do about state that cannot be used.
func damaged(dir string, err error) error {
	return fmt.Errorf("raft state damaged: remove %s to join the cluster anew: %w", dir, err)
}

// A raft server's id is NAME#INCARNATION, and its address ID@HOST:PORT: so
// addresses of two incarnations differ, votes name an incarnation, and nothing
// meant for one reaches the other.
func raftID(name, inc string) raft.ServerID { return raft.ServerID(name + "#" + inc) }

func nameOf(id raft.ServerID) string {
	name, _, _ := strings.Cut(string(id), "#")
	return name
}

func addressOf(id raft.ServerID, hostPort string) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + hostPort)
}

// splitAddress returns the id and the host and port of a server's address.
func splitAddress(a raft.ServerAddress) (raft.ServerID, string) {
	id, hostPort, ok := strings.Cut(string(a), "@")
	if !ok {
		return "", ""
	}
	return raft.ServerID(id), hostPort
}
