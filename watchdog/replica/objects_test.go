package replica

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// made are objects of every kind, by the statement that makes each.
var made = []struct{ key, statement, definition string }{
	{"schema shop", "CREATE DATABASE shop", "CREATE DATABASE"},
	{"schema void", "CREATE DATABASE void", "CREATE DATABASE"},
	{"table shop.o`o", "CREATE TABLE shop.`o``o` (id INT PRIMARY KEY) ENGINE=InnoDB", "CREATE TABLE `o``o`"},
	{"table shop.m", "CREATE TABLE shop.m (id INT) ENGINE=MEMORY", "ENGINE=MEMORY"},
	{"trigger shop.r", "CREATE TRIGGER shop.r BEFORE INSERT ON shop.m FOR EACH ROW SET NEW.id=1", "SET NEW.id=1"},
	{"procedure shop.p", "CREATE PROCEDURE shop.p() SELECT 1", "SELECT 1"},
	{"function shop.f", "CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 7", "RETURN 7"},
	{"event shop.e", "CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 2", ""},
	{"view shop.v", "CREATE VIEW shop.v AS SELECT id FROM shop.m", ""},
	{"account walter@10.%", "CREATE USER walter@'10.%' IDENTIFIED BY 'white'", "walter"},
}

func listsObjects(t *testing.T, n *node) {
	t.Helper()
	before, err := n.own.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range made {
		n.must(t, m.statement)
	}
	n.must(t, "GRANT SELECT ON shop.* TO walter@'10.%'")
	after, err := n.own.Objects(t.Context())
	if err != nil || len(after) != len(before)+len(made) {
		t.Errorf("%d objects, then %d, %v", len(before), len(after), err)
	}
	for _, m := range made {
		i := slices.IndexFunc(after, func(o Object) bool { return o.Key() == m.key })
		if i < 0 {
			t.Errorf("%s is not listed", m.key)
			continue
		}
		text, err := n.own.Definition(t.Context(), after[i])
		t.Logf("%s: %q, %v", after[i], text, err)
		if m.definition == "" && err != nil && !errors.Is(err, ErrDenied) || m.definition != "" && (err != nil || !strings.Contains(strings.Join(text, "\n"), m.definition)) {
			t.Errorf("%s is %q, %v", m.key, text, err)
		}
	}
	// An account that cannot see them must not find that there are none.
	n.must(t, "CREATE USER blind@localhost", "GRANT SELECT ON mysql.* TO blind@localhost")
	blind := open(t, Options{Socket: n.socket, User: "blind"})
	if list, err := blind.Objects(t.Context()); !errors.Is(err, ErrDenied) {
		t.Errorf("blind, but: %v, %v", list, err)
	}
}

func TestObjects(t *testing.T) { listsObjects(t, scratch(t, "objects", "--event-scheduler=OFF")) }

func TestMariaDBObjects(t *testing.T) {
	n := mariaNode(t, "objects", 3, "skip_networking=ON")
	if err := errors.Join(n.fill(), n.start()); err != nil {
		t.Fatal(err)
	}
	n.must(t, "CREATE DATABASE seen", "CREATE SEQUENCE seen.s")
	listsObjects(t, n)
}
