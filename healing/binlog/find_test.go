package binlog

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// all looks for everything, back to the first file.
var all = Query{
	Want:    func(string) bool { return true },
	Settled: func(context.Context, string) (bool, error) { return false, nil },
}

// TestExtractAndCheck: every transaction of real logs, taken out one by one and
// all together, is read back by the tool.
func TestExtractAndCheck(t *testing.T) {
	for _, c := range want {
		r := reader(t, c.flavor)
		list, settled, err := r.Find(t.Context(), logsIn(copied(t, c.flavor), c.relay), all)
		if err != nil || settled || len(list) == 0 {
			t.Fatalf("%s, relay %t: %d transactions, settled %t, %v", c.flavor, c.relay, len(list), settled, err)
		}
		path := filepath.Join(t.TempDir(), "log")
		for i := range list {
			checked(t, r, path, list[i:i+1])
			if i > 0 && list[i].Format == list[i-1].Format {
				checked(t, r, path, list[i-1:i+1])
			} else if err := Extract(io.Discard, list[max(0, i-1):i+1]); i > 0 && err == nil {
				t.Error("two formats in one file")
			}
		}
	}
}

func checked(t *testing.T, r *Reader, path string, list []Transaction) {
	t.Helper()
	var out bytes.Buffer
	if err := Extract(&out, list); err != nil {
		t.Fatal(err)
	}
	write(t, path, out.Bytes())
	want, err := SetOf(r.o.Flavor, list)
	if err != nil {
		t.Fatal(err)
	}
	if set, n, err := r.Check(t.Context(), path); err != nil || set != want || n != len(list) {
		t.Errorf("%d transactions, %q, %v, want %d, %q", n, set, err, len(list), want)
	}
	// Not a byte less, and nothing that is not a transaction of its own.
	for _, less := range []int{1, 31, out.Len() - 4, out.Len()} {
		write(t, path, out.Bytes()[:out.Len()-less])
		if set, n, err := r.Check(t.Context(), path); err == nil {
			t.Errorf("%d bytes less: %d transactions, %q", less, n, set)
		}
	}
}

// TestFindGoesBackOnlyAsFarAsNeeded: a head before which nothing is wanted
// settles it, and files before are not even opened.
func TestFindGoesBackOnlyAsFarAsNeeded(t *testing.T) {
	for _, c := range want {
		if c.relay {
			continue
		}
		dir := copied(t, c.flavor)
		write(t, filepath.Join(dir, "binlog.000001"), []byte("damaged"))
		write(t, filepath.Join(dir, "binlog.index"), []byte("./binlog.000001\n./binlog.000002\n"))
		q := all
		q.Settled = func(context.Context, string) (bool, error) { return true, nil }
		if _, settled, err := reader(t, c.flavor).Find(t.Context(), logsIn(dir, false), q); err != nil || !settled {
			t.Errorf("%s: settled %t, %v", c.flavor, settled, err)
		}
		q.Settled = func(context.Context, string) (bool, error) { return false, nil }
		if list, _, err := reader(t, c.flavor).Find(t.Context(), logsIn(dir, false), q); err == nil {
			t.Errorf("%s: %d transactions of a damaged log", c.flavor, len(list))
		}
	}
}

// TestFindDropsWhatIsNotWhole: a transaction whose end a crash cut off.
func TestFindDropsWhatIsNotWhole(t *testing.T) {
	for _, c := range want {
		r, dir := reader(t, c.flavor), copied(t, c.flavor)
		before, _, err := r.Find(t.Context(), logsIn(dir, c.relay), all)
		if err != nil {
			t.Fatal(err)
		}
		path := lastFile(dir, c.relay)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, whole[:len(whole)-31]) // the end of the last one
		after, _, err := r.Find(t.Context(), logsIn(dir, c.relay), all)
		if err != nil || len(after) != len(before)-1 {
			t.Errorf("%s, relay %t: %d of %d transactions, %v", c.flavor, c.relay, len(after), len(before), err)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		flavor, set, but string
		in, out          []string
	}{
		{"mysql", own + ":1-3:7:tag:2-4," + tagged + ":5", "", []string{own + ":1", own + ":3", own + ":7", own + ":tag:2", tagged + ":5"},
			[]string{own + ":4", own + ":tag:1", own + ":tag:7", tagged + ":tag:5", tagged + ":1", "x"}},
		{"mysql", "", "", nil, []string{own + ":1"}},
		{"mariadb", "0-2-9,3-1-4", "0-2-7,0-1-100", []string{"0-2-8", "0-2-9", "3-1-1", "3-1-4"}, []string{"0-2-7", "0-2-10", "0-1-8", "3-2-1", "x"}},
	} {
		is, err := Within(c.flavor, c.set, c.but)
		if err != nil {
			t.Fatal(err)
		}
		for _, gtid := range c.in {
			if !is(gtid) {
				t.Errorf("%s is not in %s", gtid, c.set)
			}
		}
		for _, gtid := range c.out {
			if is(gtid) {
				t.Errorf("%s is in %s", gtid, c.set)
			}
		}
	}
	for flavor, set := range map[string]string{"mysql": own + ":1-", "mariadb": "0-1-x"} {
		if _, err := Within(flavor, set, ""); err == nil {
			t.Errorf("%s was taken", set)
		}
	}
}

func TestUnbroken(t *testing.T) {
	list := func(gtids ...string) (out []Transaction) {
		for _, g := range gtids {
			out = append(out, Transaction{GTID: g})
		}
		return out
	}
	for name, c := range map[string]struct {
		set, known, applied string
		found               []Transaction
		ok                  bool
	}{
		"all from what is known":          {"0-1-20", "0-1-18", "0-1-15", list("0-1-19", "0-1-20"), true},
		"all from what is applied":        {"0-1-20", "", "0-3-18", list("0-1-19", "0-1-20"), true},
		"a gap":                           {"0-1-20", "0-1-17", "0-1-19", list("0-1-18", "0-1-20"), false},
		"the first is missing":            {"0-1-20", "0-1-17", "0-1-15", list("0-1-19", "0-1-20"), false},
		"somebody else's number is none":  {"0-1-20", "0-1-18", "0-1-15", list("0-2-19", "0-1-20"), false},
		"where it began is not known":     {"0-1-20", "", "", list("0-1-19", "0-1-20"), false},
		"another domain says nothing":     {"1-1-2", "", "0-1-15", list("1-1-2"), false},
		"a domain from its beginning":     {"1-1-2", "", "0-1-15", list("1-1-1", "1-1-2"), true},
		"nothing was received for itself": {"", "", "", nil, true},
	} {
		if err := Unbroken(c.set, c.known, c.applied, c.found); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
