package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestChecksums(t *testing.T) { checksums(t, &lab.pair) }

func TestMariaDBChecksums(t *testing.T) { checksums(t, mariaPair(t)) }

// compared are tables with every kind of column and of key.
var compared = map[string]string{
	"ints":    "a INT, b INT UNSIGNED, v INT, f FLOAT, d DOUBLE, PRIMARY KEY (b, a)",
	"texts":   "k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci, v INT, t LONGTEXT, PRIMARY KEY (k)",
	"wide":    "k VARCHAR(20) CHARACTER SET utf16, d DATE, v INT, n VARCHAR(20) NULL, PRIMARY KEY (d, k)",
	"bytes":   "k VARBINARY(16), v INT, b LONGBLOB, PRIMARY KEY (k)",
	"times":   "k TIMESTAMP(6) NOT NULL DEFAULT '2000-01-01', m DECIMAL(20,5), v INT, y YEAR, c TIME(3), PRIMARY KEY (k, m)",
	"odd":     "id BIGINT PRIMARY KEY AUTO_INCREMENT, v INT, e ENUM('', 'x', 'y'), s SET('p', 'q'), b BIT(17), j JSON, g GEOMETRY, w INT AS (v * 2) VIRTUAL, z INT AS (v + 1) STORED",
	"keyless": "v INT, n VARCHAR(20) NULL",
	"enums":   "e ENUM('z', 'a', 'm') PRIMARY KEY, v INT",
}

func fillCompared(t *testing.T, p *pair) {
	list := []string{"CREATE DATABASE cmp", "USE cmp"}
	for name, columns := range compared {
		list = append(list, "CREATE TABLE "+name+" ("+columns+")")
	}
	for i := range 60 {
		list = append(list,
			fmt.Sprintf("INSERT INTO ints VALUES (%d, %d, 0, %d.1, %d.3)", i-30, i%7, i, i),
			fmt.Sprintf("INSERT INTO texts VALUES ('k%d %c', 0, 'text %d')", i, 'a'+i%5, i),
			fmt.Sprintf("INSERT INTO wide VALUES ('é%d', '2020-01-%02d', 0, '')", i, 1+i%28),
			fmt.Sprintf("INSERT INTO bytes VALUES (UNHEX('%04x00'), 0, REPEAT(X'00ff', 50))", i*7),
			fmt.Sprintf("INSERT INTO times VALUES ('2020-01-%02d 10:00:00.%06d', -%d.5, 0, 2000, '-10:00:00.5')", 1+i%28, i, i),
			fmt.Sprintf(`INSERT INTO odd (v, e, s, b, j, g) VALUES (0, 'x', 'p', %d, '{"a": %d}', ST_GeomFromText('POINT(%d 2)'))`, i, i, i),
			fmt.Sprintf("INSERT INTO keyless VALUES (%d, 'a')", i%3))
	}
	p.source.must(t, append(list, "INSERT INTO enums VALUES ('z', 1), ('a', 2), ('m', 3)")...)
}

// everywhere are walks through all of them.
func everywhere() []watchdog.Walk {
	var out []watchdog.Walk
	for name := range compared {
		out = append(out, watchdog.Walk{TableName: watchdog.TableName{Schema: "cmp", Table: name}})
	}
	return out
}

func checksums(t *testing.T, p *pair) {
	source, private := comparePair(t, p)
	silences(t, p, source, private)
	writes := writing(t, p)
	// Each batch is of a later position; a difference counts when it is there
	// at five.
	const rounds = 15
	before, again := "", 0
	for i := range rounds {
		batch := ask(t, source, everywhere(), 7)
		if batch.Ended != len(compared) || len(batch.Chunks) < 40 {
			t.Fatalf("round %d: %d of %d walks, %d chunks", i, batch.Ended, len(compared), len(batch.Chunks))
		}
		if batch.Position == before {
			t.Fatalf("round %d: nothing was written since %s", i, before)
		}
		before = batch.Position
		differ := differing(t, private, batch)
		for range 4 {
			if len(differ) > 0 {
				again++
				differ = differing(t, private, ask(t, source, exactly(differ), 0))
			}
		}
		if len(differ) > 0 {
			t.Fatalf("round %d: %+v", i, differ)
		}
	}
	if n := writes(); n < rounds {
		t.Errorf("only %d transactions were written", n)
	} else {
		t.Logf("%d rounds under %d transactions; %d times something was asked again", rounds, n, again)
	}
	planted(t, p, source, private)
	randomChunks(t, source, private)
	refusedKeys(t, source)
}

// comparePair is the source, and a private server on a copy of its replica
// that is ready to follow it.
func comparePair(t *testing.T, p *pair) (source, private *Server) {
	t.Helper()
	maria, flavor := p != &lab.pair, "mysql"
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	o := GrantsOptions{Flavor: flavor, Account: AccountSidecar, Name: "compares", OSUser: me.Username, Checksum: true}
	if maria {
		o.Flavor, o.OSUser = "mariadb", ""
	}
	statements, err := Grants(o)
	if err != nil {
		t.Fatal(err)
	}
	own := Options{User: "compares"}
	if maria {
		statements[0] = "CREATE USER compares@localhost IDENTIFIED BY " + literal(ownPassword)
		own.Password = pw(ownPassword)
	}
	p.source.must(t, statements...)
	fillCompared(t, p)
	t.Cleanup(func() { // the test's context has ended
		if err := execAll(p.source.root, "DROP DATABASE cmp", "DROP USER compares@localhost"); err != nil {
			t.Error(err)
		}
	})
	p.healthy(t)
	config, err := p.replica.own.SourceConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.Password = pw(replPassword)

	p.replica.stop()
	n, err := newPrivate(p)
	if err := errors.Join(err, p.replica.start()); err != nil {
		t.Fatal(err)
	}
	if maria {
		p.replica.must(t, "SET GLOBAL read_only=ON")
	} else {
		p.replica.must(t, "SET GLOBAL super_read_only=ON")
	}
	t.Cleanup(n.kill)
	quiet := map[bool][]string{false: {"--skip-replica-start", "--skip-log-bin", "--performance-schema=OFF", "--super-read-only=OFF"}, true: {"--skip-slave-start", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0"}}[maria]
	if err := n.start(append([]string{"--skip-networking", "--server-id=77"}, quiet...)...); err != nil {
		t.Fatal(err)
	}
	own.Socket = p.source.socket
	source = open(t, own)
	own.Socket = n.socket
	private = open(t, own)
	if err := p.source.own.FollowTo(t.Context(), "", "0-1-1", time.Second); !errors.Is(err, ErrNotPrivate) {
		t.Errorf("a server on the network was to follow: %v", err)
	}
	if _, err := p.source.own.Checksums(t.Context(), nil, 0); !errors.Is(err, ErrDenied) {
		t.Errorf("an account without SELECT compares: %v", err)
	}
	if err := private.PrepareToFollow(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	plantedAt = n
	return source, private
}

// silences: a copy that does not answer for a while still follows; one that does
// not for too long has stalled. To be sent twice does no harm.
func silences(t *testing.T, p *pair, source, private *Server) {
	impatient := open(t, Options{User: private.o.User, Password: private.o.Password, Socket: private.o.Socket, Timeout: 200 * time.Millisecond})
	p.source.must(t, "INSERT INTO cmp.keyless VALUES (99, 'z')")
	position := ask(t, source, nil, 0).Position
	done := make(chan error, 1)
	freeze(t, plantedAt, func() {
		if err := impatient.FollowTo(t.Context(), "", position, 500*time.Millisecond); !errors.Is(err, ErrStalled) {
			t.Errorf("it does not answer at all: %v", err)
		}
		go func() { done <- impatient.FollowTo(t.Context(), "", position, 30*time.Second) }()
		select {
		case err := <-done:
			t.Errorf("it gave up: %v", err)
			done <- nil
		case <-time.After(time.Second):
		}
	})
	if err := <-done; err != nil {
		t.Errorf("after a silence: %v", err)
	}
	p.source.must(t, "INSERT INTO cmp.keyless VALUES (99, 'z')")
	f := following{s: private, position: ask(t, source, nil, 0).Position}
	defer f.leave()
	var err error
	if f.ss, err = private.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.send(t.Context()); err != nil {
			t.Errorf("sent twice: %v", err)
		}
	}
	if err := private.FollowTo(t.Context(), "", f.position, 30*time.Second); err != nil {
		t.Error(err)
	}
}

// plantedAt is the private server of the test that runs.
var plantedAt *node

func newPrivate(p *pair) (*node, error) {
	var n *node
	var err error
	if p == &lab.pair {
		n, err = newNode("compared", 77)
	} else {
		n, err = newMaria("maria-compared", 77)
	}
	if err == nil {
		err = copyTree(p.replica.datadir, n.datadir)
	}
	return n, err
}

// writing changes all tables from several sessions until it is told to stop,
// and says how many transactions it was.
func writing(t *testing.T, p *pair) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	var mu sync.Mutex
	total := 0
	changes := []string{
		"UPDATE cmp.ints SET v = v + 1 WHERE b = %d", "UPDATE cmp.texts SET v = v + 1, t = REPEAT('é', v) WHERE k LIKE 'k%d%%'",
		"UPDATE cmp.wide SET v = v + 1, n = NULL WHERE d = '2020-01-1%d'", "UPDATE cmp.bytes SET v = v + 1, b = REPEAT('x', %d) ORDER BY k LIMIT 5",
		"UPDATE cmp.times SET v = v + %d LIMIT 9", "UPDATE cmp.odd SET v = v + 1, b = v WHERE id %% 7 = %d", "UPDATE cmp.keyless SET v = %d LIMIT 3",
		"UPDATE cmp.enums SET v = v + %d", "INSERT INTO cmp.odd (v) VALUES (%d)", "DELETE FROM cmp.odd WHERE v = %d ORDER BY id DESC LIMIT 1",
	}
	for range 4 {
		wait.Go(func() {
			n := 0
			pace := time.NewTicker(5 * time.Millisecond) // a copy must be able to follow
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				tx, err := p.source.root.BeginTx(ctx, nil)
				for i := 0; i < 3 && err == nil; i++ {
					_, err = tx.ExecContext(ctx, fmt.Sprintf(changes[rand.IntN(len(changes))], rand.IntN(7)))
				}
				if err == nil {
					err = tx.Commit()
				} else if tx != nil {
					_ = tx.Rollback()
				}
				if err == nil {
					n++
				} else if ctx.Err() == nil && errno(err) != 1213 && errno(err) != 1205 {
					t.Errorf("write: %v", err)
					return
				}
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	stop = sync.OnceValue(func() int { cancel(); wait.Wait(); return total })
	t.Cleanup(func() { stop() })
	return stop
}

func ask(t *testing.T, s *Server, walks []watchdog.Walk, rows int) watchdog.Checksums {
	t.Helper()
	batch, err := s.Checksums(t.Context(), walks, rows)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// differing has the copy follow to the batch's position, and are its chunks
// that are not the same there.
func differing(t *testing.T, private *Server, batch watchdog.Checksums) []watchdog.Chunk {
	t.Helper()
	if err := private.FollowTo(t.Context(), "", batch.Position, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	own, err := private.Sums(t.Context(), batch.Chunks)
	if err != nil || len(own) != len(batch.Chunks) {
		t.Fatal(len(own), err)
	}
	var out []watchdog.Chunk
	for i, c := range batch.Chunks {
		if !c.Same(own[i]) {
			out = append(out, c)
		}
	}
	return out
}

func exactly(chunks []watchdog.Chunk) []watchdog.Walk {
	var out []watchdog.Walk
	for _, c := range chunks {
		out = append(out, watchdog.Walk{TableName: c.TableName, After: c.After, Upto: c.Upto, Single: true})
	}
	return out
}

// planted: each difference is found, in its table and in one chunk alone.
func planted(t *testing.T, p *pair, source, private *Server) {
	batch := ask(t, source, everywhere(), 7)
	if differ := differing(t, private, batch); len(differ) > 0 {
		t.Fatalf("before anything was planted: %+v", differ)
	}
	cases := []struct{ name, table, plant, back string }{
		{"changed row", "ints", "UPDATE cmp.ints SET v = v + 1 WHERE a = -30", "UPDATE cmp.ints SET v = v - 1 WHERE a = -30"},
		{"missing row", "odd", "UPDATE cmp.odd SET id = -id WHERE id = 20", "UPDATE cmp.odd SET id = -id WHERE id = -20"},
		{"extra row", "texts", "INSERT INTO cmp.texts VALUES ('k3 zz', 0, '')", "DELETE FROM cmp.texts WHERE k = 'k3 zz'"},
		{"extra first row", "bytes", "INSERT INTO cmp.bytes VALUES ('', 0, '')", "DELETE FROM cmp.bytes WHERE k = ''"},
		{"extra last row", "wide", "INSERT INTO cmp.wide VALUES ('zz', '2030-01-01', 0, '')", "DELETE FROM cmp.wide WHERE k = 'zz'"},
		{"NULL and empty", "wide", "UPDATE cmp.wide SET n = IF(n IS NULL, '', NULL) WHERE k = 'é5'", "UPDATE cmp.wide SET n = IF(n IS NULL, '', NULL) WHERE k = 'é5'"},
		{"trailing space", "texts", "UPDATE cmp.texts SET t = CONCAT(t, ' ') WHERE k = 'k7 c'", "UPDATE cmp.texts SET t = LEFT(t, LENGTH(t) - 1) WHERE k = 'k7 c'"},
		{"case of a key", "texts", "UPDATE cmp.texts SET k = 'K7 c' WHERE k = 'k7 c'", "UPDATE cmp.texts SET k = 'k7 c' WHERE k = 'k7 c'"},
		{"accent", "texts", "UPDATE cmp.texts SET t = 'é' WHERE k = 'k8 d'", ""},
		{"last bit of a blob", "bytes", "UPDATE cmp.bytes SET b = INSERT(b, LENGTH(b), 1, CHAR(ASCII(RIGHT(b, 1)) ^ 1)) WHERE k = X'002A00'", "UPDATE cmp.bytes SET b = INSERT(b, LENGTH(b), 1, CHAR(ASCII(RIGHT(b, 1)) ^ 1)) WHERE k = X'002A00'"},
		{"last bit of a float", "ints", "UPDATE cmp.ints SET f = 7.1000004 WHERE a = -23", "UPDATE cmp.ints SET f = 7.1 WHERE a = -23"},
		{"zero with a sign", "ints", "UPDATE cmp.ints SET d = -0e0 WHERE a = -22", "UPDATE cmp.ints SET d = 8.3 WHERE a = -22"},
		{"the same change in two rows", "times", "UPDATE cmp.times SET v = v ^ 1 WHERE k IN ('2020-01-05 10:00:00.000004', '2020-01-05 10:00:00.000032')", "UPDATE cmp.times SET v = v ^ 1 WHERE k IN ('2020-01-05 10:00:00.000004', '2020-01-05 10:00:00.000032')"},
		{"a second more", "times", "UPDATE cmp.times SET c = '-10:00:00.501' WHERE m = -9.5", "UPDATE cmp.times SET c = '-10:00:00.5' WHERE m = -9.5"},
		{"another enum", "odd", "UPDATE cmp.odd SET e = '' WHERE id = 9", "UPDATE cmp.odd SET e = 'x' WHERE id = 9"},
		{"a bit", "odd", "UPDATE cmp.odd SET b = b ^ 65536 WHERE id = 9", "UPDATE cmp.odd SET b = b ^ 65536 WHERE id = 9"},
		{"another JSON", "odd", "UPDATE cmp.odd SET j = '{\"a\": 80}' WHERE id = 9", "UPDATE cmp.odd SET j = '{\"a\": 8}' WHERE id = 9"},
		{"another point", "odd", "UPDATE cmp.odd SET g = ST_GeomFromText('POINT(8 3)') WHERE id = 9", "UPDATE cmp.odd SET g = ST_GeomFromText('POINT(8 2)') WHERE id = 9"},
		{"two duplicates for two others", "keyless", "INSERT INTO cmp.keyless VALUES (8, 'b'), (8, 'b')", "DELETE FROM cmp.keyless WHERE v = 8 AND n = 'b'"},
		{"a row by an enum", "enums", "UPDATE cmp.enums SET v = v + 1 WHERE e = 'm'", "UPDATE cmp.enums SET v = v - 1 WHERE e = 'm'"},
		{"another column", "enums", "ALTER TABLE cmp.enums ADD COLUMN more INT", "ALTER TABLE cmp.enums DROP COLUMN more"},
		{"no table", "enums", "RENAME TABLE cmp.enums TO cmp.away", "RENAME TABLE cmp.away TO cmp.enums"},
	}
	for _, c := range cases {
		quiet := "SET SESSION sql_log_bin = 0"
		if c.back == "" { // from what the row held, whatever was written to it
			held := p.source.value(t, "SELECT HEX(t) FROM cmp.texts WHERE k = 'k8 d'")
			plantedAt.must(t, quiet, "UPDATE cmp.texts SET t = 'e' WHERE k = 'k8 d'")
			c.back = "UPDATE cmp.texts SET t = CONVERT(X'" + held + "' USING latin1) WHERE k = 'k8 d'"
		}
		plantedAt.must(t, quiet, "SET SESSION sql_mode = ''", "SET SESSION unique_checks = 1", c.plant)
		differ := differing(t, private, batch)
		if len(differ) == 0 || slices.ContainsFunc(differ, func(d watchdog.Chunk) bool { return d.Table != c.table }) || len(differ) > 2 {
			t.Errorf("%s: found %+v", c.name, differ)
		}
		plantedAt.must(t, quiet, "SET SESSION sql_mode = ''", c.back)
		if differ := differing(t, private, batch); len(differ) > 0 {
			t.Fatalf("%s: taken back, and still %+v", c.name, differ)
		}
	}
}

// randomChunks: one chunk of each table that begins somewhere, and all of them
// in the end.
func randomChunks(t *testing.T, source, private *Server) {
	begins := map[string]bool{}
	for range 30 {
		walks := everywhere()
		for i := range walks {
			walks[i].Random = true
		}
		batch := ask(t, source, walks, 5)
		if batch.Ended != len(walks) || len(batch.Chunks) != len(walks) {
			t.Fatalf("%d chunks of %d walks, %d through", len(batch.Chunks), len(walks), batch.Ended)
		}
		if differ := differing(t, private, batch); len(differ) > 0 {
			t.Fatalf("%+v", differ)
		}
		for _, c := range batch.Chunks {
			begins[c.Table+strings.Join(c.After, ",")] = true
		}
	}
	if len(begins) < 30 {
		t.Errorf("random chunks begin at %d places only", len(begins))
	}
}

// refusedKeys: what comes from another node is no part of a statement.
func refusedKeys(t *testing.T, s *Server) {
	for table, key := range map[string]string{"ints": "1 OR 1=1", "texts": "0x6b' OR 1", "times": "2020-01-01' OR '1", "bytes": "0x0"} {
		w := watchdog.Walk{TableName: watchdog.TableName{Schema: "cmp", Table: table}, After: watchdog.Key{key}}
		if _, err := s.Checksums(t.Context(), []watchdog.Walk{w}, 0); err == nil || !strings.Contains(err.Error(), "is no value of the key column") {
			t.Errorf("%s after %q: %v", table, key, err)
		}
	}
	for _, schema := range []string{"mysql", "MYSQL", "cmp` AS x -- "} {
		own := watchdog.Walk{TableName: watchdog.TableName{Schema: schema, Table: "user"}}
		// MariaDB refuses the last name by itself (ER_WRONG_DB_NAME).
		if batch, err := s.Checksums(t.Context(), []watchdog.Walk{own}, 0); err != nil && errno(err) != 1102 || len(batch.Chunks) > 0 {
			t.Errorf("%s: %+v, %v", schema, batch.Chunks, err)
		}
	}
}
