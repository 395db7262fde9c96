package healing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// The versions of the file: one grows when an older sidecar could misread it.
// A sidecar that knows of no directories outside the datadir would exchange
// the datadir alone, and so put new data beside old logs.
const (
	journalFlat    = 1
	journalOutside = 2 // with Outside
	journalWider   = 3 // with the datadir itself, or single tablespaces, among them; a drill; a new server_uuid
	journalBack    = 4 // a rollback: an older one would throw the old datadir away like a copy
	journalWiped   = 5 // a wipe, or a node without data: an older one would take the husk for old data, and start a server on it
)

// Journal is where a rebuild stands: one small file, replaced atomically and
// synced before and after each step, so that a sidecar that died anywhere
// finds the way on. It holds no secret.
type Journal struct {
	Version   int            `json:"version"`
	ClusterID string         `json:"cluster_id"`
	Token     uint64         `json:"token"`
	Step      watchdog.Step  `json:"step"`
	Done      bool           `json:"done"`  // the step has ended; the next has not begun
	Stood     watchdog.Step  `json:"stood"` // in settle: the step that the rebuild ended in
	Time      watchdog.Stamp `json:"time"`
	// Record is the rebuild as history will keep it. Its outcome is set once
	// it is known; from then on only the release is left to do.
	Record watchdog.Record `json:"record"`

	Override []string        `json:"override"`
	Into     datadir.Ref     `json:"into"`    // of a backup: the directory for it
	Primary  string          `json:"primary"` // as preflight found it
	Live     datadir.Ref     `json:"live"`    // the datadir in service, by inode
	Was      datadir.Dir     `json:"was"`     // owner and mode of the datadir as it was
	Staged   datadir.Ref     `json:"staged"`  // the copy, known from the end of stage
	Staging  string          `json:"staging"` // rebuild.staging_dir as it was
	Program  service.Program `json:"program"` // how mysqld is run
	PIDFile  string          `json:"pid_file"`

	// Old is the id of the quarantined datadir that a rollback goes back to:
	// Staged is that one then, and Then what its server was.
	Old  string          `json:"old,omitempty"`
	Then *datadir.Served `json:"then,omitempty"`
	// WipeFirst says that the live data are removed before the copy is made,
	// and Bare that there are none: live is a husk then. Husk is that husk, made
	// but not yet live until Bare; Going are the data that are being removed.
	WipeFirst bool        `json:"wipe_first,omitempty"`
	Bare      bool        `json:"bare,omitempty"`
	Husk      datadir.Ref `json:"husk,omitzero"`
	Going     datadir.Ref `json:"going,omitzero"`
	// Leaves is what the live server was, once it was closed for good.
	Leaves *datadir.Served `json:"leaves,omitempty"`

	// Outside are the directories elsewhere that belong to the data.
	Outside []datadir.Outside `json:"outside,omitempty"`
	// Scattered are the copy's tablespaces at paths of their own; before
	// `rehearse`, the donor's.
	Scattered []string `json:"scattered,omitempty"`

	Executed string               `json:"executed"` // of the rehearsed copy
	UUID     string               `json:"server_uuid"`
	NewUUID  string               `json:"new_server_uuid,omitempty"` // of the rebuilt server; empty: the same
	Source   replica.SourceConfig `json:"source"`                    // to attach as before; the password lies elsewhere
	Closed   *replica.Openness    `json:"closed"`                    // how open the live server was before it was closed
	// Persisted is what the copy's mysqld-auto.cnf said before it was made to
	// start closed; nil where the option files say so already.
	Persisted replica.Persisted `json:"persisted"`
	// Dead says that mysqld was dead when stop began, or does not come up any
	// more: there is nothing to close or to end, and on the way back nothing
	// to wait for.
	Dead bool           `json:"dead"`
	Away watchdog.Stamp `json:"away"` // when clients were no longer served
	// Back is set once the way back has begun: the old server is to run again.
	Back bool `json:"back"`
}

func journalPath(stateDir string) string { return filepath.Join(stateDir, "journal.json") }

// save replaces the journal and syncs it and its directory.
func (j *Journal) save(stateDir string, now time.Time) error {
	j.Version = journalFlat
	if len(j.Outside) > 0 {
		j.Version = journalOutside
	}
	if j.Record.Drill() || j.NewUUID != "" || j.whole() != nil || slices.ContainsFunc(j.Outside, func(o datadir.Outside) bool { return o.Scattered }) {
		j.Version = journalWider
	}
	if j.Record.Rollback() {
		j.Version = journalBack
	}
	if j.WipeFirst || j.Bare {
		j.Version = journalWiped
	}
	j.Time = watchdog.StampOf(now)
	b, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	b = padded(b, journalRoom)
	err = saveFile(journalPath(stateDir), b)
	if errors.Is(err, syscall.ENOSPC) {
		// The copy may have filled the disk that the journal is on.
		err = saveInReserve(stateDir, b)
	}
	return err
}

// A journal takes more room than it needs, so that on a full disk the next one
// can take its place, and whatever else wants room cannot take that.
const (
	journalRoom  = 32 << 10  // a journal has a multiple of it
	reserveBytes = 256 << 10 // for the first journal on a full disk
)

// padded ends a journal with blanks, which JSON does not mind.
func padded(b []byte, unit int) []byte {
	blanks := bytes.Repeat([]byte{' '}, unit-1-len(b)%unit)
	return append(append(b, blanks...), '\n')
}

func reservePath(stateDir string) string { return filepath.Join(stateDir, "journal.reserve") }

// keepReserve allocates room that save can write to when there is none left.
func keepReserve(stateDir string) error {
	f, err := os.OpenFile(reservePath(stateDir), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("reserve room for the journal: %w", err)
	}
	err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("reserve room for the journal: %w", err)
	}
	return nil
}

// saveInReserve writes the journal where room was kept for it, and lets the two
// files change their names at once: what was the journal is the reserve of the
// next one. Not a block is given back that somebody else could take. A file
// system that writes nothing in place, as btrfs, or that cannot exchange two
// names, gets the room back instead.
func saveInReserve(stateDir string, b []byte) error {
	err := overwrite(reservePath(stateDir), b)
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, reservePath(stateDir), unix.AT_FDCWD, journalPath(stateDir), unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.ENOENT) { // the first one, or no reserve
		err = os.Rename(reservePath(stateDir), journalPath(stateDir))
	}
	if err == nil {
		return syncDir(stateDir)
	}
	if removed := removeFile(reservePath(stateDir)); removed != nil {
		return removed
	}
	return saveFile(journalPath(stateDir), b)
}

// overwrite fills a file with b and blanks, within the length that it has.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < int64(len(b)) {
		err = fmt.Errorf("%s has room for %d bytes, %d are needed", path, info.Size(), len(b))
	}
	if err == nil {
		_, err = f.Write(append(b, bytes.Repeat([]byte{' '}, int(info.Size())-len(b))...))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// saveFile replaces path atomically with mode 0600 and syncs the directory
// too: a rename that is not in the directory on disk is lost with the power.
func saveFile(path string, b []byte) error {
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = errors.Join(d.Sync(), d.Close())
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// loadJournal returns nil where no rebuild is under way.
func loadJournal(stateDir string) (*Journal, error) {
	b, err := os.ReadFile(journalPath(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	j := new(Journal)
	if err := json.Unmarshal(b, j); err != nil {
		return nil, fmt.Errorf("the journal %s is damaged (%w): nothing is done until a person has looked at the datadirs and removed it", journalPath(stateDir), err)
	}
	if j.Version < journalFlat || j.Version > journalWiped {
		return nil, fmt.Errorf("the journal %s has version %d, this resilver writes up to %d: run the resilver that wrote it", journalPath(stateDir), j.Version, journalWiped)
	}
	return j, nil
}

// removeJournal ends a rebuild for good.
func removeJournal(stateDir string) error {
	if err := os.Remove(journalPath(stateDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the journal: %w", err)
	}
	return syncDir(stateDir)
}

// served notes that clients are served again.
func (j *Journal) served() {
	if !j.Away.IsZero() {
		away := time.Since(j.Away.Time).Seconds()
		j.Record.OutageSeconds = &away
	}
}

// at says whether the journal stands in step, begun or done.
func (j *Journal) at(steps ...watchdog.Step) bool {
	for _, s := range steps {
		if j.Step == s {
			return true
		}
	}
	return false
}
