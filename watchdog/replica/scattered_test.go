package replica

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"testing"
)

// ownedDir makes a directory for the server's user.
func ownedDir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if lab.owner != nil {
		if err := os.Chown(path, int(lab.owner.Uid), int(lab.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestScattered: only what lies at a path of its own is listed. A clone wants
// to write to that very path: where files are there, it fails.
func TestScattered(t *testing.T) {
	n := rootNode(t, "scattered", 5)
	if err := copyTree(filepath.Join(lab.dir, "template"), n.datadir); err != nil {
		t.Fatal(err)
	}
	far, undo := ownedDir(t, filepath.Join(n.dir, "far")), ownedDir(t, filepath.Join(n.dir, "undo"))
	home := ownedDir(t, filepath.Join(n.dir, "home"))
	for name, dir := range map[string]string{"undo_001": undo, "undo_002": undo, "ibdata1": home} {
		if err := os.Rename(filepath.Join(n.datadir, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.start("--innodb-directories="+far, "--innodb-undo-directory="+undo, "--innodb-data-home-dir="+home); err != nil {
		t.Fatal(err)
	}
	n.must(t, "CREATE DATABASE t", "CREATE TABLE t.a (id INT PRIMARY KEY)", "CREATE TABLESPACE near ADD DATAFILE 'near.ibd'",
		"CREATE UNDO TABLESPACE more ADD DATAFILE 'more.ibu'")
	if got, err := n.own.Scattered(t.Context()); err != nil || len(got) > 0 {
		t.Fatalf("a server with undo and system tablespace elsewhere: %v, %v", got, err)
	}
	n.must(t, "CREATE TABLE t.far (id INT PRIMARY KEY) DATA DIRECTORY='"+far+"'", "CREATE TABLESPACE wide ADD DATAFILE '"+far+"/wide.ibd'",
		"CREATE UNDO TABLESPACE most ADD DATAFILE '"+far+"/most.ibu'", "CREATE TABLE t.p (id INT PRIMARY KEY) PARTITION BY RANGE (id) "+
			"(PARTITION p0 VALUES LESS THAN (9) DATA DIRECTORY='"+far+"', PARTITION p1 VALUES LESS THAN MAXVALUE)")
	want := []string{far + "/most.ibu", far + "/t/far.ibd", far + "/t/p#p#p0.ibd", far + "/wide.ibd"}
	got, err := n.own.Scattered(t.Context())
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, %v, want %v", got, err, want)
	}
	n.must(t, "DROP TABLE t.p", "DROP TABLESPACE wide", "ALTER UNDO TABLESPACE most SET INACTIVE")

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	grants, err := Grants(GrantsOptions{Flavor: "mysql", Account: AccountClone, Name: "resilver_clone", OSUser: me.Username})
	if err != nil {
		t.Fatal(err)
	}
	n.must(t, grants...)
	empty := scratch(t, "meets")
	order := CloneOrder{Host: "127.0.0.1", Port: relay(t, n.socket), User: "resilver_clone", Dir: filepath.Join(empty.dir, "new")}
	if err := empty.own.Clone(t.Context(), order); err == nil {
		t.Error("a clone does not mind the live files at the path")
	} else {
		t.Log(err)
	}
}
