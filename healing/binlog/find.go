package binlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Query says which transactions are looked for.
type Query struct {
	Want func(gtid string) bool
	// Settled says that none of them is before a file that begins with that
	// set of all before it.
	Settled func(ctx context.Context, head string) (bool, error)
}

// Find looks for transactions in a log, and returns those that are whole in it,
// in their order. Settled says that the files go back far enough for none to
// be missed: that a file began with a set that the query calls settled. A
// server that runs may write on meanwhile.
func (r *Reader) Find(ctx context.Context, l Logs, q Query) (found []Transaction, settled bool, err error) {
	files, err := l.files()
	if err != nil {
		return nil, false, fmt.Errorf("list logs: %w", err)
	}
	var scans []scan
	for i := len(files) - 1; i >= 0 && !settled; i-- {
		s, head, err := r.scan(ctx, files[i], l.Relay, i == len(files)-1, q.Want)
		if err != nil {
			return nil, false, err
		}
		scans = append(scans, s)
		if head != nil {
			if settled, err = q.Settled(ctx, *head); err != nil {
				return nil, false, err
			}
		}
	}
	slices.Reverse(scans)
	found, err = r.group(scans, l.Relay)
	return found, settled, err
}

// scan is what of one file is looked for.
type scan struct {
	file  string
	ext   extent
	names map[int64]string
}

func (r *Reader) scan(ctx context.Context, path string, relay, last bool, want func(string) bool) (scan, *string, error) {
	before := &set{mariadb: r.mariadb()}
	p := r.parser(before, relay)
	p.keep = want
	ext, err := r.read(ctx, path, relay, last, p)
	if err != nil || !p.head {
		return scan{path, ext, p.at}, nil, err
	}
	head := before.head()
	return scan{path, ext, p.at}, &head, nil
}

// group goes through the same bytes once more, forward.
func (r *Reader) group(scans []scan, relay bool) ([]Transaction, error) {
	g := grouping{mariadb: r.mariadb()}
	for _, s := range scans {
		g.file, g.names = s.file, s.names
		if _, err := walkTo(s.file, relay, s.ext.whole, g.event); err != nil {
			return nil, fmt.Errorf("read a log: %w", err)
		}
	}
	return g.whole, g.err
}

// Check reads a file that Extract wrote, by the engine's own tool, and returns
// the set of its transactions, each of which is whole, and their number.
func (r *Reader) Check(ctx context.Context, path string) (set string, n int, err error) {
	s, _, err := r.scan(ctx, path, true, false, func(string) bool { return true })
	if err != nil {
		return "", 0, err
	}
	whole, err := r.group([]scan{s}, true)
	switch {
	case err != nil:
		return "", 0, err
	case len(whole) != s.ext.gtids:
		return "", 0, fmt.Errorf("%s: %d of %d transactions are whole", path, len(whole), s.ext.gtids)
	case len(whole) == 0:
		return "", 0, errors.New(path + " holds no transaction")
	}
	set, err = SetOf(r.o.Flavor, whole)
	return set, len(whole), err
}
