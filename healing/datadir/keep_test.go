package datadir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kept is a staged copy and a directory for backups, on the same file system
// or another.
func kept(t *testing.T, elsewhere bool) (Place, Keeping) {
	t.Helper()
	p, base := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	if elsewhere {
		var err error
		if base, err = os.MkdirTemp("/dev/shm", "resilver-test-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(base) })
	}
	into := filepath.Join(base, "backups")
	must(t, os.Mkdir(into, 0o755))
	ref, err := BackupInto(into, []string{base})
	must(t, err)
	copied := mustRef(t, p.Path(NameNew))
	if (ref.Dev != copied.Dev) != elsewhere {
		t.Fatal("/dev/shm is on the same file system as the temporary directory: the copy is not tried")
	}
	return p, Keeping{Into: ref, ID: "r1", Copy: copied, Leave: []string{"auto.cnf", "*.pem", "d?"}, MinFree: func(int64) int64 { return 0 },
		Manifest: func([]File) ([]byte, error) { return []byte("{}"), nil }, At: func(string) {}}
}

func TestKeep(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		p, k := kept(t, elsewhere)
		want := snapshot(t, k.Copy.Path)
		write(t, filepath.Join(k.Copy.Path, "auto.cnf"), "uuid")
		write(t, filepath.Join(k.Copy.Path, "private_key.pem"), "secret")
		live := snapshot(t, p.Live.Path)
		var files []File
		k.Manifest = func(fs []File) ([]byte, error) { files = fs; return []byte("manifest"), nil }
		named := filepath.Join(k.Into.Path, k.ID)
		k.At = func(string) {
			if exists(named) {
				t.Error("the name is there before all is written")
			}
		}
		path, err := p.Keep(t.Context(), k)
		must(t, err)
		if path != named {
			t.Errorf("kept in %s, want %s", path, named)
		}
		if got := snapshot(t, filepath.Join(path, "data")); got != want {
			t.Errorf("elsewhere %t: kept\n%swant\n%s", elsewhere, got, want)
		}
		sum := sha256.Sum256([]byte("new"))
		if len(files) != 3 || files[0].Path != "db/t.ibd" || files[0].Bytes != 3 || files[0].SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("files: %+v", files)
		}
		if got := snapshot(t, p.Live.Path); got != live {
			t.Error("the live datadir has changed")
		}
		must(t, p.Discard(k.Copy))
		must(t, DropUnkept(k.Into, k.ID)) // nothing is left to drop, and what is kept stays
		if !exists(filepath.Join(path, "manifest.json")) {
			t.Error("the backup is gone")
		}
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("the backup's mode is %o", info.Mode().Perm())
		}
	}
}

// TestKeepIsWholeOrGone: whatever ends it leaves no backup of that name, and
// nothing that DropUnkept does not remove.
func TestKeepIsWholeOrGone(t *testing.T) {
	gone := errors.New("no manifest")
	for name, spoil := range map[string]func(*testing.T, *Keeping) context.Context{
		"no manifest": func(t *testing.T, k *Keeping) context.Context {
			k.Manifest = func([]File) ([]byte, error) { return nil, gone }
			return t.Context()
		},
		"cancelled": func(t *testing.T, _ *Keeping) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		},
		"a link in it": func(t *testing.T, k *Keeping) context.Context {
			must(t, os.Symlink("/etc/passwd", filepath.Join(k.Copy.Path, "zz")))
			return t.Context()
		},
		"a pipe in it": func(t *testing.T, k *Keeping) context.Context {
			must(t, mkfifo(filepath.Join(k.Copy.Path, "zz")))
			return t.Context()
		},
	} {
		for _, elsewhere := range []bool{false, true} {
			p, k := kept(t, elsewhere)
			ctx := spoil(t, &k)
			if path, err := p.Keep(ctx, k); err == nil {
				t.Errorf("%s: kept in %s", name, path)
			}
			must(t, DropUnkept(k.Into, k.ID))
			left, err := os.ReadDir(k.Into.Path)
			must(t, err)
			if len(left) != 0 {
				t.Errorf("%s: %s is left", name, left[0].Name())
			}
			must(t, p.Discard(k.Copy))
		}
	}
}

func TestKeepReplacesNothing(t *testing.T) {
	p, k := kept(t, false)
	write(t, filepath.Join(k.Into.Path, "r1", "data"), "an older backup")
	_, err := p.Keep(t.Context(), k)
	wantError(t, err, "name the backup")
	if !exists(filepath.Join(k.Into.Path, "r1", "data")) {
		t.Error("the older one is gone")
	}
	must(t, DropUnkept(k.Into, k.ID))

	p, k = kept(t, true)
	k.MinFree = func(int64) int64 { return 1 << 60 }
	_, err = p.Keep(t.Context(), k)
	wantError(t, err, "must stay free")
	must(t, DropUnkept(k.Into, k.ID))

	p, k = kept(t, false)
	must(t, os.Rename(k.Into.Path, k.Into.Path+"2"))
	must(t, os.Mkdir(k.Into.Path, 0o755))
	_, err = p.Keep(t.Context(), k)
	if !errors.Is(err, ErrOther) {
		t.Errorf("into another directory: %v", err)
	}
	if err := DropUnkept(k.Into, k.ID); !errors.Is(err, ErrOther) {
		t.Errorf("dropped in another directory: %v", err)
	}
	for _, inside := range []string{p.Live.Path, filepath.Join(p.Root, NameOld)} {
		k.Into = mustRef(t, inside)
		_, err = p.Keep(t.Context(), k)
		wantError(t, err, " is in ")
	}
}

// TestKeepNeverTakesTheLiveDatadir, by whatever name it is asked to.
func TestKeepNeverTakesTheLiveDatadir(t *testing.T) {
	p, k := kept(t, false)
	live := snapshot(t, p.Live.Path)
	disguised := p.Live.Ref
	disguised.Path = p.Path(NameNew)
	for _, copied := range []Ref{p.Live.Ref, disguised, {Path: p.Path(NameNew), Dev: k.Copy.Dev, Ino: k.Copy.Ino + 1000000}, {}} {
		k.Copy = copied
		if path, err := p.Keep(t.Context(), k); err == nil {
			t.Errorf("%s: kept in %s", copied, path)
		}
		must(t, DropUnkept(k.Into, k.ID))
	}
	if got := snapshot(t, p.Live.Path); got != live {
		t.Error("the live datadir has changed")
	}
}

func TestBackupInto(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	dirs := filepath.Join(base, "backups")
	write(t, filepath.Join(dirs, "weekly", "x"), "")
	write(t, filepath.Join(base, "backups-of-others", "x"), "")
	must(t, os.Mkdir(filepath.Join(dirs, "open"), 0o755))
	must(t, os.Chmod(filepath.Join(dirs, "open"), 0o777))
	must(t, os.Symlink(filepath.Join(base, "backups-of-others"), filepath.Join(dirs, "out")))
	must(t, os.Symlink(dirs, filepath.Join(base, "link")))
	for dir, want := range map[string]string{
		dirs:                                     "",
		dirs + "/":                               "",
		filepath.Join(dirs, "weekly"):            "",
		filepath.Join(base, "link", "weekly"):    "",
		filepath.Join(base, "backups-of-others"): "is in none of",
		filepath.Join(dirs, "out"):               "is in none of",
		base:                                     "is in none of",
		filepath.Join(dirs, "nothing"):           "no such file",
		filepath.Join(dirs, "weekly", "x"):       "not a directory",
		filepath.Join(dirs, "open"):              "writable by everybody",
		dirs + "/../backups-of-others":           "not a clean path",
		"backups":                                "not an absolute path",
		"":                                       "empty",
	} {
		ref, err := BackupInto(dir, []string{"/nonexistent", dirs})
		switch {
		case want == "" && (err != nil || ref.Ino == 0 || !strings.HasPrefix(ref.Path, dirs)):
			t.Errorf("%s: %v, %v", dir, ref, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, %v; want %q", dir, ref, err, want)
		}
	}
	if _, err := BackupInto(dirs, nil); err == nil {
		t.Error("allowed although nothing is")
	}
}

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }
