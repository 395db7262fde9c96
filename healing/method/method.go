// Package method knows the ways to take a copy of a donor: MySQL's CLONE, and
// the physical backup tools mariabackup and xtrabackup. Each says whether it
// fits, stages a copy in a directory beside the live data, and prepares it.
// Backups is the donor's side of the tools.
//
// It touches neither the live server nor its datadir, holds no lease, and
// does not judge the copy: that is the rehearsal.
package method

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"resilver/healing/private"
)

// Method is one way to take a copy.
type Method interface {
	Name() string
	// Fit says whether the method could be used here, and else why not.
	Fit(ctx context.Context, f Facts) (bool, string)
	// Stage makes job.Staging a complete copy of the donor. It tells report
	// how far it is: the total may grow. When ctx ends it gives up, and no
	// process of it is left; neither is one after an error. What was copied
	// until then stays, and is the caller's to remove.
	Stage(ctx context.Context, job Job, report func(done, total int64)) (Copy, error)
	// Prepare makes what Stage copied a datadir that a server can boot. It
	// gives up when ctx ends, and leaves no process behind.
	Prepare(ctx context.Context, job Job) error
}

// Facts is what a method's fitness depends on.
type Facts struct {
	Flavor        string // mysql | mariadb, of this node
	VersionNumber int    // 9.7.4 is 90704
	// Scattered says that there are tablespaces at paths of their own.
	Scattered bool
}

// Job is one copy to be taken.
type Job struct {
	ID      string // of the rebuild
	Area    string // the staging area beside the live datadir, on its file system
	Staging string // where the copy goes: directly in Area; must not exist
	Program private.Program
	// Covers are where the copy's tablespaces at paths of their own go, for a
	// method that puts them at their places itself.
	Covers []private.Cover
	Paths  map[string]string // of the live server, replica.Paths
	// Tunnel opens one connection to the donor's mysqld, for as long as the
	// lease's token is good.
	Tunnel func(ctx context.Context) (net.Conn, error)
	// Backup opens the stream of a backup that the donor makes, for as long as
	// the token is good.
	Backup func(ctx context.Context, req BackupRequest) (net.Conn, error)
}

// Copy is a staged copy.
type Copy struct {
	Reported string // GTID set reported with it, empty where the method reports none
	// Replicated says that the set is what a donor that is a replica had
	// applied of its source, and no transaction of its own.
	Replicated bool
	Bytes      int64 // copied
}

// check wants the staging directory in its place, and not there yet.
func (j *Job) check() error {
	switch {
	case !filepath.IsAbs(j.Area) || filepath.Dir(j.Staging) != filepath.Clean(j.Area):
		return fmt.Errorf("staging directory %q is not in the area %q", j.Staging, j.Area)
	}
	if _, err := os.Lstat(j.Staging); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the staging directory %s must not exist", j.Staging)
	}
	return nil
}
