package private

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const recordName = "process.json"

// maxRecord bounds it, in bytes.
const maxRecord = 64 << 10

// birth is the record of a private server.
type birth struct {
	Birth
	Datadir string `json:"datadir"`
}

// record writes down which process was started, for EndOrphans.
func (w *work) record(pid int) error {
	born, err := BirthOf(pid)
	if err != nil {
		return err
	}
	b, err := json.Marshal(birth{Birth: born, Datadir: w.place.Datadir})
	if err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	_ = w.root.Remove(recordName)
	f, err := w.root.OpenFile(recordName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	return nil
}

// forget removes the record of a process that is gone.
func (w *work) forget() { _ = w.root.Remove(recordName) }

// EndOrphans kills the private servers of the staging area that an earlier
// process started and could not take with it. Only a process is killed that
// is the recorded one, by its time of birth, and works in the recorded
// datadir inside the area. It returns how many there were; an error means
// that one may still run, and that nothing of the area may be removed.
func EndOrphans(area string) (int, error) {
	root, err := OpenArea(area)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for stray servers: %w", err)
	}
	defer func() { _ = root.Close() }()
	ended := 0
	var errs []error
	for _, role := range roles {
		name := filepath.Join(nameWork, role, recordName)
		b, err := readSmall(root, name, maxRecord)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		killed := false
		if err == nil {
			killed, err = endOrphan(root, area, b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end the stray %s server: %w", role, err))
			continue
		}
		if killed {
			ended++
		}
		_ = root.Remove(name)
	}
	return ended, errors.Join(errs...)
}

func endOrphan(root *os.Root, area string, record []byte) (bool, error) {
	var b birth
	// The file belongs to mysqld's user: it is a claim to be checked. One cut
	// by a crash names nobody.
	if json.Unmarshal(record, &b) != nil {
		return false, nil
	}
	fd, lives, err := b.open()
	if err != nil || !lives {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := worksIn(b.PID, root, area, b.Datadir); err != nil {
		// One that is dying has no directory any more, but its last threads
		// may still write.
		if _, dying, again := startTicks(b.PID); dying || errors.Is(again, fs.ErrNotExist) {
			return false, awaitPidfd(fd, b.PID)
		}
		return false, err
	}
	return true, killPidfd(fd, b.PID)
}

// worksIn checks that a process has the datadir, which must be directly in
// the area, as its working directory: mysqld changes into its datadir.
func worksIn(pid int, root *os.Root, area, datadir string) error {
	if filepath.Dir(datadir) != filepath.Clean(area) {
		return fmt.Errorf("process %d: the recorded datadir %s is not in %s", pid, datadir, area)
	}
	want, err := root.Lstat(filepath.Base(datadir)) // a link would lead to anybody's directory
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	cwd, err := workdir(pid)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	if !os.SameFile(want, cwd) {
		return fmt.Errorf("process %d does not work in %s", pid, datadir)
	}
	return nil
}

// workdir is the working directory of a process. That of another user's is
// shown to CAP_SYS_PTRACE only, which a container's root and resilver.service
// lack, or to that user: then it is looked at with that user's ids.
func workdir(pid int) (info fs.FileInfo, err error) {
	process := "/proc/" + strconv.Itoa(pid)
	info, err = os.Stat(process + "/cwd")
	if !errors.Is(err, fs.ErrPermission) {
		return info, err
	}
	owner, ownerErr := os.Stat(process)
	if ownerErr != nil {
		return nil, ownerErr
	}
	stat, ok := owner.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		if unix.Setfsgid(int(stat.Gid)) == nil && unix.Setfsuid(int(stat.Uid)) == nil {
			info, err = os.Stat(process + "/cwd")
		}
	}()
	<-done
	return info, err
}
