package datadir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestX19OwnGivesTheWholeTree: X19 and R29, everything in the copy, its top
// directory included, has the live datadir's owner, and the live one keeps
// its own.
func TestX19OwnGivesTheWholeTree(t *testing.T) {
	p, _ := setUp(t)
	must(t, os.Chmod(p.Live.Path, 0o711))
	var err error
	if p.Live, err = Inspect(p.Live.Path); err != nil {
		t.Fatal(err)
	}
	liveBefore := snapshot(t, p.Live.Path)
	newDatadir(t, p.Path(NameNew), "new")
	sUID, sGID := stranger()
	for _, name := range []string{"", "ibdata1", "db", "db/t.ibd"} {
		must(t, os.Chown(filepath.Join(p.Path(NameNew), name), sUID, sGID))
	}
	must(t, os.Chmod(p.Path(NameNew), 0o700))
	must(t, Own(t.Context(), mustRef(t, p.Path(NameNew)), p.Live, nil))
	uid, gid := owner()
	for _, name := range []string{"", "ibdata1", "mysql.ibd", "db", "db/t.ibd"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(p.Path(NameNew), name), &st))
		if st.Uid != uint32(uid) || st.Gid != uint32(gid) {
			t.Errorf("%q belongs to %d:%d", name, st.Uid, st.Gid)
		}
		if name == "" && st.Mode&0o777 != 0o711 {
			t.Errorf("the top directory has mode %o", st.Mode&0o777)
		}
	}
	if after := snapshot(t, p.Live.Path); after != liveBefore {
		t.Errorf("R29: the live datadir changed:\n%s", after)
	}
}

// endsAfter is a context that ends once it has been looked at so often.
type endsAfter struct {
	context.Context
	looks *int
}

var errEnded = errors.New("the lease is over")

func (c endsAfter) Err() error {
	if *c.looks--; *c.looks < 0 {
		return errEnded
	}
	return nil
}

// TestOwnEndsWithItsContext: wherever in the tree it is, nothing more is given
// away, and what was left half given is finished by the next call.
func TestOwnEndsWithItsContext(t *testing.T) {
	p, _ := setUp(t)
	staged := p.Path(NameNew)
	newDatadir(t, staged, "new")
	write(t, filepath.Join(p.Live.Path, "auto.cnf"), "uuid")
	liveBefore := snapshot(t, p.Live.Path)
	sUID, sGID := stranger()
	uid, _ := owner()
	const entries = 4 // ibdata1, mysql.ibd, db, db/t.ibd
	// given counts the entries that have the live datadir's owner.
	given := func() (n int) {
		must(t, filepath.WalkDir(staged, func(path string, _ fs.DirEntry, err error) error {
			var st unix.Stat_t
			if err == nil {
				err = unix.Lstat(path, &st)
			}
			if err == nil && st.Uid == uint32(uid) {
				n++
			}
			return err
		}))
		return n
	}
	for looks := range entries {
		must(t, filepath.WalkDir(staged, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, sUID, sGID))
		}))
		left := looks
		err := Own(endsAfter{t.Context(), &left}, mustRef(t, staged), p.Live, []string{"auto.cnf"})
		if !errors.Is(err, errEnded) {
			t.Errorf("ended after %d entries: %v", looks, err)
		}
		if sUID != uid && given() != looks {
			t.Errorf("ended after %d entries: %d were given", looks, given())
		}
		if exists(filepath.Join(staged, "auto.cnf")) {
			t.Errorf("ended after %d entries: a file was preserved", looks)
		}
	}
	must(t, Own(t.Context(), mustRef(t, staged), p.Live, []string{"auto.cnf"}))
	if n := given(); sUID != uid && n != entries+1 { // the top directory too
		t.Errorf("%d entries were given, want all", n)
	}
	if !exists(filepath.Join(staged, "auto.cnf")) {
		t.Error("auto.cnf was not preserved")
	}
	if after := snapshot(t, p.Live.Path); after != liveBefore {
		t.Errorf("the live datadir changed:\n%s", after)
	}
}

func TestOwnPreservesSmallFiles(t *testing.T) {
	p, _ := setUp(t)
	live, staged := p.Live.Path, p.Path(NameNew)
	newDatadir(t, staged, "new")
	write(t, filepath.Join(live, "auto.cnf"), "uuid")
	write(t, filepath.Join(live, "server-key.pem"), "key")
	write(t, filepath.Join(live, "mysqld-auto.cnf"), "{}")
	write(t, filepath.Join(live, "other.cnf"), "no")
	write(t, filepath.Join(live, "db", "x.pem"), "no")
	must(t, os.Chmod(filepath.Join(live, "server-key.pem"), 0o600))
	sUID, sGID := stranger()
	must(t, os.Chown(filepath.Join(live, "server-key.pem"), sUID, sGID))
	write(t, filepath.Join(staged, "auto.cnf"), "the donor's")
	must(t, Mark(live, "not to be copied"))
	preserve := []string{"auto.cnf", "mysqld-auto.cnf", "*.pem", "mysql_upgrade_info", "resilver.*"}
	must(t, CanPreserve(p.Live, preserve))
	must(t, Own(t.Context(), mustRef(t, staged), p.Live, preserve))
	must(t, Own(t.Context(), mustRef(t, staged), p.Live, preserve)) // again after a crash
	for name, want := range map[string]string{"auto.cnf": "uuid", "server-key.pem": "key", "mysqld-auto.cnf": "{}"} {
		got, err := os.ReadFile(filepath.Join(staged, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"other.cnf", "x.pem", "db/x.pem", MarkerName} {
		if exists(filepath.Join(staged, name)) {
			t.Errorf("%s was copied", name)
		}
	}
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(staged, "server-key.pem"), &st))
	if st.Uid != uint32(sUID) || st.Gid != uint32(sGID) || st.Mode&0o777 != 0o600 {
		t.Errorf("the key has owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode&0o777)
	}
}

func TestOwnRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		plant    func(t *testing.T, p Place, victim string)
		preserve []string
		text     string
	}{
		"symbolic link": {func(t *testing.T, p Place, victim string) {
			must(t, os.Symlink(victim, filepath.Join(p.Path(NameNew), "db", "link")))
		}, nil, "is a symbolic link"},
		"hard link": {func(t *testing.T, p Place, victim string) {
			must(t, os.Link(victim, filepath.Join(p.Path(NameNew), "link")))
		}, nil, "hard links"},
		"pipe": {func(t *testing.T, p Place, _ string) {
			must(t, unix.Mkfifo(filepath.Join(p.Path(NameNew), "pipe"), 0o600))
		}, nil, "neither a file nor a directory"},
		"preserved link": {func(t *testing.T, p Place, victim string) {
			must(t, os.Symlink(victim, filepath.Join(p.Live.Path, "ca.pem")))
		}, []string{"*.pem"}, "symbolic link"},
		"preserved pipe": {func(t *testing.T, p Place, _ string) {
			must(t, unix.Mkfifo(filepath.Join(p.Live.Path, "ca.pem"), 0o600))
		}, []string{"*.pem"}, "not a regular file"},
		"preserved data": {func(t *testing.T, p Place, _ string) {
			must(t, os.Truncate(filepath.Join(p.Live.Path, "ibdata1"), 12<<20))
		}, []string{"ibdata*"}, "small file"},
		"path as pattern": {func(*testing.T, Place, string) {}, []string{"../*"}, "not a pattern"},
		"broken pattern":  {func(*testing.T, Place, string) {}, []string{"["}, "not a pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			p, base := setUp(t)
			newDatadir(t, p.Path(NameNew), "new")
			victim := filepath.Join(base, "victim")
			write(t, victim, "precious")
			before := snapshot(t, victim)
			c.plant(t, p, victim)
			// What it would refuse of the live datadir can be known before.
			live := snapshot(t, p.Live.Path)
			if early := CanPreserve(p.Live, c.preserve); c.preserve == nil {
				must(t, early)
			} else {
				wantError(t, early, c.text)
			}
			if after := snapshot(t, p.Live.Path); after != live {
				t.Errorf("looking changed the datadir: %s", after)
			}
			wantError(t, Own(t.Context(), mustRef(t, p.Path(NameNew)), p.Live, c.preserve), c.text)
			if after := snapshot(t, victim); after != before {
				t.Errorf("victim changed: %s", after)
			}
		})
	}
}

func TestOwnRefusesTheLiveDatadir(t *testing.T) {
	p, _ := setUp(t)
	wantError(t, Own(t.Context(), p.Live.Ref, p.Live, nil), "live datadir")
}

// TestOwnCopiesTheLabel writes a label where the kernel lets us; elsewhere it
// sees that its absence is no error.
func TestOwnCopiesTheLabel(t *testing.T) {
	p, _ := setUp(t)
	const label = "system_u:object_r:mysqld_db_t:s0"
	want := ""
	if unix.Setxattr(p.Live.Path, labelAttribute, []byte(label), 0) == nil {
		want = label
	}
	live, err := Inspect(p.Live.Path)
	must(t, err)
	if live.Label != want {
		t.Fatalf("label is %q, wanted %q", live.Label, want)
	}
	newDatadir(t, p.Path(NameNew), "new")
	must(t, Own(t.Context(), mustRef(t, p.Path(NameNew)), live, nil))
	for _, name := range []string{"", "ibdata1", "db", "db/t.ibd"} {
		f, err := os.Open(filepath.Join(p.Path(NameNew), name))
		must(t, err)
		got, err := labelOf(f)
		must(t, f.Close())
		if err != nil || got != want {
			t.Errorf("%q has label %q, %v", name, got, err)
		}
	}
}
