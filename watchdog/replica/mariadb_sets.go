package replica

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// writer is one server in one replication domain of MariaDB.
type writer struct{ domain, server uint32 }

// gtids is a MariaDB GTID set: of each writer all transactions up to a
// sequence number. Written out it is one domain-server-number for each writer,
// by domain and server. The server itself has no such text: the set of a
// server is its gtid_binlog_state, which knows each writer, together with
// gtid_slave_pos, which also counts what came by replication without being
// logged here.
//
// A number stands for all before it of the same writer, and for nothing of
// another: numbers are unique within a domain only as long as nobody writes
// where he should not, which is what is to be found out.
type gtids map[writer]uint64

// parseGTIDs reads a list of domain-server-number; of one writer the largest
// number counts. Anything else than a whole list is refused.
func parseGTIDs(text string) (gtids, error) {
	g := gtids{}
	if text = oneLine(text); text == "" {
		return g, nil
	}
	for _, one := range strings.Split(text, ",") {
		w, n, ok := parseGTID(one)
		if !ok {
			return nil, fmt.Errorf("%q is not a gtid set", text)
		}
		g[w] = max(g[w], n)
	}
	return g, nil
}

func parseGTID(text string) (writer, uint64, bool) {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return writer{}, 0, false
	}
	domain, err1 := strconv.ParseUint(parts[0], 10, 32)
	server, err2 := strconv.ParseUint(parts[1], 10, 32)
	n, err3 := strconv.ParseUint(parts[2], 10, 64)
	return writer{uint32(domain), uint32(server)}, n, err1 == nil && err2 == nil && err3 == nil
}

// readGTIDs reads lists that a server wrote, or that were checked before.
func readGTIDs(texts ...string) (gtids, error) { return parseGTIDs(joinSets(texts...)) }

// joinSets joins the sets that are not empty.
func joinSets(sets ...string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(sets), func(s string) bool { return s == "" }), ",")
}

func (g gtids) String() string {
	return g.text(func(a, b writer) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(a.server, b.server))
	})
}

// state is the set as gtid_binlog_state wants it: the last of a domain is the
// one that the next transaction is numbered after.
func (g gtids) state() string {
	return g.text(func(a, b writer) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(g[a], g[b]), cmp.Compare(a.server, b.server))
	})
}

func (g gtids) text(order func(a, b writer) int) string {
	parts := make([]string, 0, len(g))
	for _, w := range slices.SortedFunc(maps.Keys(g), order) {
		parts = append(parts, fmt.Sprintf("%d-%d-%d", w.domain, w.server, g[w]))
	}
	return strings.Join(parts, ",")
}

// position is the last transaction of each domain, as a replica starts from it.
func (g gtids) position() gtids {
	out := gtids{}
	last := map[uint32]writer{}
	for w, n := range g {
		at, ok := last[w.domain]
		if !ok || n > g[at] || n == g[at] && w.server > at.server {
			last[w.domain] = w
		}
	}
	for _, w := range last {
		out[w] = g[w]
	}
	return out
}

// at says that each transaction of a position is the last of its writer here.
func (g gtids) at(position gtids) bool {
	for w, n := range position {
		if g[w] != n {
			return false
		}
	}
	return true
}

// until is the largest number of a domain.
func (g gtids) until(domain uint32) (n uint64, known bool) {
	for w, m := range g {
		if w.domain == domain {
			n, known = max(n, m), true
		}
	}
	return n, known
}

// minus is what of g is not in other. A writer of whom only a part is missing
// is there with his last number.
func (g gtids) minus(other gtids) gtids {
	out := gtids{}
	for w, n := range g {
		if have, ok := other[w]; !ok || n > have {
			out[w] = n
		}
	}
	return out
}

func (g gtids) plus(other gtids) gtids {
	out := maps.Clone(g)
	for w, n := range other {
		out[w] = max(out[w], n)
	}
	return out
}

// beyond is what of g, held by the server with that id, is errant against a
// primary that has known, and that has replicated up to a position itself.
//
// Of a writer that the primary knows, whatever has a larger number. One that
// it does not know may have written before the copy that the primary was once
// made from, which told it no more than a position; so what is not after the
// last transaction that the primary got by replication is taken for older
// history. Not so the server's own transactions: it is its own that a stray
// write leaves, and a primary that does not know them proves nothing. A domain
// that the primary never replicated is errant in any case.
func (g gtids) beyond(id uint32, known, replicated gtids) gtids {
	out := g.minus(known)
	maps.DeleteFunc(out, func(w writer, n uint64) bool {
		_, writes := known[w]
		until, has := replicated.until(w.domain)
		return !writes && w.server != id && has && n <= until
	})
	return out
}

// past is what history has up to a position: of writers that the position
// does not name, all that is not after it in its domain.
func (g gtids) past(history gtids) gtids {
	out := maps.Clone(g)
	for w, n := range history {
		until, has := g.until(w.domain)
		if _, named := g[w]; !named && has && n <= until {
			out[w] = n
		}
	}
	return out
}
