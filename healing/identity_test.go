package healing

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"resilver/healing/archive"
	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/watchdog"
)

const ownUUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// staged is a rebuild whose copy has the server_uuid of the live datadir.
func staged(t *testing.T, flavor string) (*rebuild, string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "auto.cnf")
	if err := os.WriteFile(file, []byte("[auto]\nserver-uuid="+ownUUID+"\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	ref, err := datadir.RefOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &rebuild{h: &Healer{o: Options{StateDir: t.TempDir()}}, log: slog.New(slog.DiscardHandler), fitness: method.Facts{Flavor: flavor}}
	r.j.UUID, r.j.Staged = ownUUID, ref
	return r, file
}

// TestTrapR39NewIdentity: the copy gets another server_uuid once archived
// transactions are under the one that it would keep, and not before.
func TestTrapR39NewIdentity(t *testing.T) {
	r, file := staged(t, "mysql")
	self := archive.Trail{Self: watchdog.Observation{Flavor: "mysql", ServerUUID: ownUUID}}
	if err := r.identityAfter("7583e806-e72e-11f1-8eee-02fc00000001:8", self); err != nil || r.j.uuid() != ownUUID {
		t.Fatalf("a foreign transaction: server_uuid %s, %v", r.j.uuid(), err)
	}
	if err := r.identityAfter(ownUUID+":1-3", self); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || r.j.uuid() == ownUUID || string(text) != "[auto]\nserver-uuid="+r.j.uuid()+"\n" ||
		!regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(r.j.uuid()) {
		t.Fatalf("server_uuid %s, in the copy: %s, %v", r.j.uuid(), text, err)
	}
	was := r.j.uuid()
	if err := r.renew(); err != nil || r.j.uuid() != was {
		t.Errorf("it got a third one: %s, %v", r.j.uuid(), err)
	}
	kept, err := loadJournal(r.h.o.StateDir)
	if err != nil || kept.uuid() != was {
		t.Errorf("the journal has %+v, %v", kept, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := r.renew(); err == nil {
		t.Error("a copy without auto.cnf got one")
	}
}

// TestTrapR39MariaDB: what could be numbered twice there is refused, also
// against the copy once it is known.
func TestTrapR39MariaDB(t *testing.T) {
	r, file := staged(t, "mariadb")
	r.facts.Self = watchdog.Observation{Flavor: "mariadb", ServerID: 2}
	self := archive.Trail{Self: r.facts.Self, Primary: watchdog.Observation{Executed: "0-1-10"}}
	if err := r.identityAfter("0-2-10", self); err != nil {
		t.Error(err)
	}
	if err := r.identityAfter("0-2-11", self); err == nil {
		t.Error("0-2-11 could be given again")
	}
	r.j.Executed = "0-1-9"
	if err := r.reissues("0-2-10"); err == nil {
		t.Error("0-2-10 could be given again by a copy that ends before")
	}
	if err := r.renew(); err != nil || r.j.NewUUID != "" {
		t.Errorf("server_uuid %q, %v", r.j.NewUUID, err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
