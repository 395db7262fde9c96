//go:build proof

package systemd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// load writes steadily to the primary and remembers what was acknowledged.
type load struct {
	mu    sync.Mutex
	acked []int64
}

func (f *fleet) startLoad() *load {
	f.t.Helper()
	l := new(load)
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	done := make(chan struct{})
	f.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for id := int64(1); ctx.Err() == nil; id++ {
			_, err := f.db[0].ExecContext(ctx, "INSERT INTO app.writes VALUES (?, ?)", id, fmt.Sprintf("row %d, %s", id, time.Now()))
			if err == nil {
				l.mu.Lock()
				l.acked = append(l.acked, id)
				l.mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return l
}

func (l *load) acknowledged() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acked)
}

// equal stops the writes for a moment and compares every table of the
// application by checksum; every acknowledged row is on every node.
func (f *fleet) equal(l *load) {
	f.t.Helper()
	ctx := f.t.Context()
	lock, err := f.db[0].Conn(ctx)
	f.must(err)
	defer func() { _ = lock.Close() }()
	_, err = lock.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK")
	f.must(err)
	defer func() { _, _ = lock.ExecContext(ctx, "UNLOCK TABLES") }()
	want := l.acknowledged()
	if len(want) == 0 {
		f.t.Fatal("not one row was acknowledged")
	}
	var position, first string
	f.must(lock.QueryRowContext(ctx, "SELECT @@gtid_binlog_pos").Scan(&position))
	for i, name := range f.names {
		if i > 0 {
			var reached int
			f.must(f.db[i].QueryRowContext(ctx, "SELECT MASTER_GTID_WAIT(?, 60)", position).Scan(&reached))
			if reached != 0 {
				f.t.Fatalf("%s has not caught up with %s", name, position)
			}
		}
		sums := ""
		for _, table := range []string{"app.bulk", "app.faults", "app.writes"} {
			var sum string
			f.must(f.db[i].QueryRowContext(ctx, "CHECKSUM TABLE "+table+" EXTENDED").Scan(new(string), &sum))
			sums += table + " " + sum + "\n"
		}
		if i == 0 {
			first = sums
		} else if sums != first {
			f.t.Errorf("%s differs from the primary: %s instead of %s", name, sums, first)
		}
		if lost := f.missing(i, want); len(lost) > 0 {
			f.t.Errorf("%s lacks %d of %d acknowledged rows: %v", name, len(lost), len(want), lost[:min(len(lost), 5)])
		}
	}
	f.t.Logf("all nodes are equal, with %d acknowledged rows", len(want))
}

// missing are the rows that a node lacks.
func (f *fleet) missing(node int, want []int64) (lost []int64) {
	f.t.Helper()
	rows, err := f.db[node].QueryContext(f.t.Context(), "SELECT id FROM app.writes")
	f.must(err)
	defer func() { _ = rows.Close() }()
	has := map[int64]bool{}
	for rows.Next() {
		var id int64
		f.must(rows.Scan(&id))
		has[id] = true
	}
	f.must(rows.Err())
	for _, id := range want {
		if !has[id] {
			lost = append(lost, id)
		}
	}
	return lost
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}
