package healing

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"resilver/watchdog"
)

// TestTrapR48IdentityWhileCompared: for as long as it replicates the copy is
// another server than the live one, and afterwards that one again.
func TestTrapR48IdentityWhileCompared(t *testing.T) {
	r, file := staged(t, "mysql")
	r.facts.Self.ServerID = 1<<31 + 7
	seen := map[uint32]bool{}
	for range 3 {
		id, back, err := r.as()
		if err != nil || id < 1<<31 || id == r.facts.Self.ServerID || seen[id] {
			t.Fatal(id, err)
		}
		seen[id] = true
		text, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(text), ownUUID) || !strings.HasPrefix(string(text), "[auto]\nserver-uuid=") {
			t.Errorf("while it is compared: %s, %v", text, err)
		}
		if err := back(); err != nil {
			t.Fatal(err)
		}
		if text, err = os.ReadFile(file); err != nil || string(text) != "[auto]\nserver-uuid="+ownUUID+"\n" {
			t.Errorf("afterwards: %s, %v", text, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.as(); err == nil {
		t.Error("a copy without auto.cnf got an identity")
	}
}

func tableWalk(name string) watchdog.Walk {
	return watchdog.Walk{TableName: watchdog.TableName{Schema: "s", Table: name}}
}

func chunkOf(name string, upto watchdog.Key) watchdog.Chunk {
	return watchdog.Chunk{TableName: tableWalk(name).TableName, Upto: upto, Rows: 10}
}

// TestWalksGoOn: a walk that was cut goes on after the last key that was read,
// one that was not begun as it was, and what is through is not asked for again.
func TestWalksGoOn(t *testing.T) {
	c := comparison{seen: map[watchdog.TableName]bool{}}
	random := tableWalk("c")
	random.Random = true
	walks := []watchdog.Walk{tableWalk("a"), tableWalk("b"), random}
	left := c.count(walks, watchdog.Checksums{Ended: 1, Position: "p", Chunks: []watchdog.Chunk{
		chunkOf("a", watchdog.Key{"9"}), chunkOf("a", nil), chunkOf("b", watchdog.Key{"5"}), chunkOf("b", watchdog.Key{"7"})}})
	want := []watchdog.Walk{tableWalk("b"), random}
	want[0].After = watchdog.Key{"7"}
	if !reflect.DeepEqual(left, want) || c.out.Chunks != 4 || c.out.Rows != 40 || len(c.seen) != 2 {
		t.Fatalf("%+v, %+v", left, c.out)
	}
	if left = c.count(left, watchdog.Checksums{}); !reflect.DeepEqual(left, want) {
		t.Errorf("nothing was read: %+v", left)
	}
	left = c.count(left, watchdog.Checksums{Ended: 2, LeftOut: []watchdog.LeftOut{{Table: "s.b", Reason: "x"}}})
	if len(left) != 0 || c.out.Omitted != 1 || c.out.LeftOut[0].Table != "s.b" {
		t.Errorf("%+v, %+v", left, c.out)
	}
}

func TestDifferenceInWords(t *testing.T) {
	own, _ := staged(t, "mysql")
	own.j.Record.Donor = "db3"
	there := watchdog.Chunk{TableName: watchdog.TableName{Schema: "shop", Table: "orders"}, After: watchdog.Key{"10", "0x6162"}, Upto: watchdog.Key{"20", "0xFF"}, Rows: 9, Sum: "123", Shape: "s"}
	for _, c := range []struct {
		here watchdog.Chunk
		want string
	}{
		{watchdog.Chunk{Rows: 8, Sum: "124", Shape: "s"}, `the copy from db3 differs from the primary db1 in table shop.orders, keys after (10, "ab") up to (20, 0xFF): 9 rows with checksum 123 there, 8 rows with checksum 124 in the copy, at uuid:1-9`},
		{watchdog.Chunk{Rows: -1}, "no such table in the copy"},
		{watchdog.Chunk{Shape: "other"}, "other columns in the copy"},
	} {
		err := own.differs("db1", []difference{{there, c.here, "uuid:1-9"}})
		if !strings.Contains(err.Error(), c.want) || errors.Is(err, errCancelled) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for text, chunk := range map[string]watchdog.Chunk{"all rows": {}, "keys up to (1)": {Upto: watchdog.Key{"1"}}, "keys after (2)": {After: watchdog.Key{"2"}}} {
		if got := rangeText(chunk); got != text {
			t.Errorf("%s, want %s", got, text)
		}
	}
}

// TestTableOfTheFault: the texts are those of errors 1032 and 1062 (9.7.4,
// 10.11).
func TestTableOfTheFault(t *testing.T) {
	r := rebuild{}
	r.facts.Self.Sources = []watchdog.SourceStatus{{Applier: watchdog.ThreadStatus{
		Message: "Could not execute Update_rows event on table lab.faults; Can't find record in 'faults', Error_code: 1032; handler error HA_ERR_KEY_NOT_FOUND"}}}
	for table, want := range map[watchdog.TableName]bool{{Schema: "lab", Table: "faults"}: true, {Schema: "lab", Table: "fault"}: false, {Schema: "b", Table: "faults"}: false} {
		if r.named(table) != want {
			t.Errorf("%s: %v", table, !want)
		}
	}
}
