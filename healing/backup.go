package healing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// Manifest says what a backup is: manifest.json, beside data/.
type Manifest struct {
	Version       int            `json:"version"`
	ID            string         `json:"id"`
	Cluster       string         `json:"cluster"`
	Node          string         `json:"node"` // where it was made
	Donor         string         `json:"donor"`
	DonorUUID     string         `json:"donor_server_uuid"` // on MariaDB server-id:<server_id>
	Method        string         `json:"method"`
	Flavor        string         `json:"flavor"`
	ServerVersion string         `json:"server_version"`
	Executed      string         `json:"gtid_executed"`
	Taken         watchdog.Stamp `json:"taken"` // when the copy had been rehearsed
	Bytes         int64          `json:"bytes"`
	FileCount     int            `json:"file_count"`
	FilesSHA256   string         `json:"files_sha256"` // of the lines that sha256sum -c reads
	Files         []datadir.File `json:"files"`
	Restore       []string       `json:"restore"`
}

const manifestVersion = 1

// personal are the files at the top of a datadir that make it this node's: no
// backup holds them, so that whoever is restored from it is somebody new, nor
// what the configuration preserves besides, such as keys.
var personal = []string{"auto.cnf", "mysqld-auto.cnf*", "*.pem"}

func (r *rebuild) leave() []string {
	out := slices.Concat(personal, r.h.o.Preserve)
	slices.Sort(out)
	return slices.Compact(out)
}

// keep leaves the rehearsed copy where backups go, under a name that appears
// only when all of it is there and on disk.
func (r *rebuild) keep(ctx context.Context) error {
	if err := r.keepable(); err != nil {
		return err
	}
	path, err := r.place.Keep(ctx, datadir.Keeping{
		Into: r.j.Into, ID: r.j.Record.ID, Copy: r.j.Staged, Leave: r.leave(), MinFree: r.h.o.MinFree, Manifest: r.manifest,
		At: r.h.o.Failpoint,
	})
	if err != nil {
		return err
	}
	r.log.Info("backup kept", "path", path)
	return r.note(func(j *Journal) { j.Record.Backup = path })
}

func (r *rebuild) manifest(files []datadir.File) ([]byte, error) {
	m := Manifest{
		Version: manifestVersion, ID: r.j.Record.ID, Cluster: r.h.o.ClusterName, Node: r.h.o.Node,
		Donor: r.j.Record.Donor, DonorUUID: r.donor.ServerUUID,
		Method: r.j.Record.Method, Flavor: r.donor.Flavor, ServerVersion: r.donor.Version,
		Executed: r.j.Executed, Taken: watchdog.StampOf(time.Now()), FileCount: len(files), Files: files,
		Restore: []string{
			"Check it: jq -r '.files[] | .sha256 + \"  \" + .path' manifest.json | (cd data && sha256sum -c --quiet)",
			"With mysqld stopped, copy the contents of data/ into an empty datadir that belongs to mysqld's user (cp -a data/. DATADIR; chown -R).",
			"Not in it, because the node that made it keeps them to itself: files at the top of the datadir named " + strings.Join(r.leave(), ", ") + ". Put those that the server needs there, such as keys and certificates, or what its packages want to find.",
			elsewhere(r.donor.Flavor),
			"Start the same release series of the server. It has no source and a server_uuid of its own; events that ran on the primary are disabled.",
			"gtid_executed above is what it holds: to make it a replica, name its source with auto-position (MariaDB: slave_pos) and start replication.",
		},
	}
	sum := sha256.New()
	for _, f := range files {
		m.Bytes += f.Bytes
		fmt.Fprintf(sum, "%s  %s\n", f.SHA256, f.Path)
	}
	m.FilesSHA256 = hex.EncodeToString(sum.Sum(nil))
	out, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	return append(out, '\n'), nil
}

// elsewhere says what a server finds only where its options say.
func elsewhere(flavor string) string {
	const what = "Everything lies flat in data/. Where the option files name other directories for some of it, move these files there before the first start, or leave the options out: " +
		"innodb_data_home_dir (ibdata*), innodb_log_group_home_dir (#innodb_redo or ib_logfile*), innodb_undo_directory (undo*)"
	if flavor == "mariadb" {
		return what + ", aria_log_dir_path (aria_log*), log_bin (the binary log with its .index and .state; the lines of .index must name the new paths). Else the server does not start, or begins new ones and has lost its gtid_binlog_state."
	}
	return what + ". Else the server does not start, or begins new ones."
}

// dropUnkept removes what a backup that did not come to its end has left where
// backups go. Nothing but room there depends on it, and a directory that
// refuses now, as that of a file server that is gone, may do so for ever: it is
// not insisted on, and a person is told what is left.
func (r *rebuild) dropUnkept() {
	if r.j.Into.Path == "" {
		return
	}
	err := datadir.DropUnkept(r.j.Into, r.j.Record.ID)
	if err == nil {
		return
	}
	what := "what is left of a backup is not removed"
	if errors.Is(err, datadir.ErrOther) || errors.Is(err, os.ErrNotExist) {
		what = "the directory for backups is another one now"
	}
	r.log.Warn(what, "path", datadir.Unkept(r.j.Into, r.j.Record.ID), "error", err)
}
