package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// identity is what a rebuild must leave as it was.
type identity struct {
	uuid, serverID, source string // MariaDB has no uuid
	uid, gid               uint32
	mode                   os.FileMode
	inode                  uint64 // of the data, see dataOf
}

func identityOf(t *testing.T, n *lab.Node) identity {
	t.Helper()
	ctx := t.Context()
	var id identity
	var err error
	if n.Engine() == lab.MySQL {
		id.uuid, err = n.Value(ctx, "SELECT @@server_uuid")
		must(t, err)
	}
	id.serverID, err = n.Value(ctx, "SELECT @@server_id")
	must(t, err)
	status, err := n.Replica(ctx)
	must(t, err)
	id.source = fmt.Sprint(status["Source_Host"], status["Source_Port"], status["Source_User"], status["Connect_Retry"],
		status["Source_Retry_Count"], status["Get_Source_public_key"], status["Source_SSL_Allowed"], status["Auto_Position"], status["Channel_Name"], status["Using_Gtid"])
	info, err := os.Stat(n.Datadir)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	id.uid, id.gid, id.mode = st.Uid, st.Gid, info.Mode()
	id.inode = dataOf(t, n)
	return id
}

// dataOf is the identity of a node's data on disk: of the schema mysql, which
// comes and goes with them in every layout.
func dataOf(t *testing.T, n *lab.Node) uint64 {
	t.Helper()
	return identityOfDir(t, filepath.Join(n.Datadir, "mysql"))
}

// unchanged checks that the rebuilt node is who it was, on another directory.
func (id identity) unchanged(t *testing.T, n *lab.Node) {
	t.Helper()
	now := identityOf(t, n)
	if now.inode == id.inode {
		t.Errorf("%s: the data are still the old ones", n.Name)
	}
	now.inode = id.inode
	if now != id {
		t.Errorf("%s: it was %+v, it is %+v", n.Name, id, now)
	}
	real, err := filepath.EvalSymlinks(n.Datadir)
	must(t, err)
	owned(t, real, id.uid, id.gid)
	if _, err := os.Stat(filepath.Join(n.Datadir, "resilver.no-start")); err == nil {
		t.Errorf("%s: the start guard's marker is still there", n.Name)
	}
}

// untouched checks that nothing at all has become of the node's datadir.
func (id identity) untouched(t *testing.T, n *lab.Node) {
	t.Helper()
	if now := identityOf(t, n); now.inode != id.inode || now.uuid != id.uuid {
		t.Errorf("%s: its data were replaced", n.Name)
	}
}

// owned checks each file below dir.
func owned(t *testing.T, dir string, uid, gid uint32) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil // a running server removes files
		}
		if name := e.Name(); name == "lost+found" || name == ".resilver" {
			return filepath.SkipDir // not the server's
		}
		info, err := os.Lstat(path)
		if err != nil {
			return nil
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
			t.Errorf("%s belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, uid, gid)
		}
		return nil
	}))
}

// wholeFiles are some that every datadir of the engine has.
var wholeFiles = map[string][]string{
	lab.MySQL:   {"ibdata1", "mysql.ibd", "auto.cnf"},
	lab.MariaDB: {"ibdata1", "aria_log_control", "mysql/global_priv.MAD", "mysql/gtid_slave_pos.ibd", "mysql_upgrade_info"},
}

// quarantined checks that the old datadir is kept whole: by its inode, with a
// system tablespace in it.
func quarantined(t *testing.T, n *lab.Node, id identity, rebuild string) {
	t.Helper()
	area := areaOf(t, n)
	old := filepath.Join(area, "old", rebuild)
	if ino := identityOfDir(t, filepath.Join(old, "mysql")); ino != id.inode {
		t.Errorf("mysql in %s is inode %d, the old one was %d", old, ino, id.inode)
	}
	for _, name := range wholeFiles[n.Engine()] {
		_, err := os.Stat(filepath.Join(old, name))
		if err != nil { // it may have lain elsewhere
			_, err = os.Stat(filepath.Join(n.InnoDBDir(), ".resilver", "old", rebuild, name))
		}
		if err != nil {
			t.Errorf("the old datadir is not whole: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(area, "new")); err == nil {
		t.Error("a staging directory was left behind")
	}
}

// areaOf is the staging area beside a node's datadir, behind links, or in one
// that is a mount point.
func areaOf(t *testing.T, n *lab.Node) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(n.Datadir)
	must(t, err)
	if n.Layout() == lab.LayoutMount {
		return filepath.Join(real, ".resilver")
	}
	return real + ".resilver"
}

// neverWritable polls read_only, as a proxy would, until stop is called: no
// poll that is answered may see a writable server. Where the data were replaced
// meanwhile, the new server must have answered too.
func neverWritable(t *testing.T, n *lab.Node) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var byOld, byNew, open int
	before := dataOf(t, n)
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			answers := &byOld
			// Looked at first: the old server has ended before its data go.
			if data, err := os.Stat(filepath.Join(n.Datadir, "mysql")); err == nil && inodeOf(data) != before {
				answers = &byNew
			}
			v, err := n.Value(ctx, "SELECT @@global.read_only")
			if err != nil {
				continue
			}
			*answers++
			if v != "1" {
				open++
			}
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			done.Wait()
			t.Logf("%s: the old server answered %d polls of read_only, the new one %d", n.Name, byOld, byNew)
			const least = 10
			if open > 0 {
				t.Errorf("%s: %d of %d polls saw read_only=0", n.Name, open, byOld+byNew)
			}
			if replaced := dataOf(t, n) != before; byOld < least || replaced && byNew < least {
				t.Errorf("%s: too few polls were answered for a proof", n.Name)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func identityOfDir(t *testing.T, dir string) uint64 {
	t.Helper()
	info, err := os.Stat(dir)
	must(t, err)
	return inodeOf(info)
}

func inodeOf(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
