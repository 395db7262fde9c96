package replica

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"resilver/watchdog"
)

// anySet draws from few writers and small numbers, so that sets meet.
var anySet = rapid.Custom(func(t *rapid.T) gtids {
	g := gtids{}
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		w := writer{rapid.Uint32Range(0, 2).Draw(t, "domain"), rapid.Uint32Range(1, 3).Draw(t, "server")}
		g[w] = rapid.Uint64Range(1, 6).Draw(t, "n")
	}
	return g
})

// has is the meaning of a set: is this one transaction in it?
func (g gtids) has(w writer, n uint64) bool { return n <= g[w] }

func everyTransaction(do func(w writer, n uint64)) {
	for domain := range uint32(3) {
		for server := range uint32(4) {
			for n := uint64(1); n <= 7; n++ {
				do(writer{domain, server}, n)
			}
		}
	}
}

func TestMariaDBSetsAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySet.Draw(t, "a"), anySet.Draw(t, "b")
		union, rest := a.plus(b), a.minus(b)
		subset := len(rest) == 0
		everyTransaction(func(w writer, n uint64) {
			if union.has(w, n) != (a.has(w, n) || b.has(w, n)) {
				t.Fatalf("union: %v %d", w, n)
			}
			// What is left has all that was in a only, and nothing that was not in a.
			if a.has(w, n) && !b.has(w, n) && !rest.has(w, n) || rest.has(w, n) && !a.has(w, n) {
				t.Fatalf("difference: %v %d", w, n)
			}
			if subset && a.has(w, n) && !b.has(w, n) {
				t.Fatalf("subset: %v %d", w, n)
			}
		})
		if !maps.Equal(union, b.plus(a)) || !maps.Equal(a.plus(a), a) || !maps.Equal(b.plus(rest), union) || len(a.minus(union)) != 0 || len(a.minus(a)) != 0 {
			t.Fatalf("union %s, rest %s", union, rest)
		}
		for _, text := range []string{a.String(), a.state(), strings.ReplaceAll(a.String(), ",", ",\n ")} {
			if again, err := parseGTIDs(text); err != nil || !maps.Equal(again, a) || again.String() != a.String() {
				t.Fatalf("%q is read as %s, %v", text, again, err)
			}
		}
		if cut := len(a.String()); cut > 1 && a.String()[cut-2] == '-' {
			if _, err := parseGTIDs(a.String()[:cut-1]); err == nil {
				t.Fatalf("%q was taken for a set", a.String()[:cut-1])
			}
		}
	})
}

// The position is one of each domain and the end of its state, and restoring
// the past of a position never adds what comes after it.
func TestMariaDBPositionAndPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := anySet.Draw(t, "history")
		p := history.position()
		for w, n := range history {
			until, has := p.until(w.domain)
			if top, _ := history.until(w.domain); !has || until != top || n > until {
				t.Fatalf("position %s of %s", p, history)
			}
		}
		domains := map[uint32]int{}
		for w := range p {
			domains[w.domain]++
			if domains[w.domain] > 1 {
				t.Fatalf("position %s", p)
			}
		}
		if whole := p.past(history); len(whole.position().minus(p)) != 0 || len(p.minus(whole)) != 0 || len(whole.minus(history)) != 0 {
			t.Fatalf("past of %s in %s is %s", p, history, whole)
		}
		any := anySet.Draw(t, "position")
		part := any.past(history)
		for w, n := range part.minus(any) {
			if until, _ := any.until(w.domain); n > until || history[w] != n {
				t.Fatalf("past of %s in %s is %s", any, history, part)
			}
		}
	})
}

// cluster is a history in strict mode, written by one server after the other,
// and what two nodes know of it that followed from different points on: whole,
// or only since a copy that told them no more than a position.
type cluster struct {
	primary, node        gtids
	replicated           gtids
	primaryID, nodeID    uint32
	nodeApplied, rebuilt uint64
}

var anyCluster = rapid.Custom(func(t *rapid.T) cluster {
	const servers = 4
	c := cluster{primary: gtids{}, node: gtids{}, replicated: gtids{}, primaryID: 1, nodeID: rapid.Uint32Range(2, servers).Draw(t, "node")}
	terms := rapid.SliceOfN(rapid.Uint32Range(1, servers), 0, 5).Draw(t, "terms")
	var order []uint32 // order[n-1] wrote transaction n
	for _, writes := range append(terms, c.primaryID) {
		for range rapid.IntRange(1, 4).Draw(t, "writes") {
			order = append(order, writes)
		}
	}
	last := uint64(len(order)) // the primary's own last term has written it
	before := last
	for before > 0 && order[before-1] == c.primaryID {
		before--
	}
	c.rebuilt = rapid.Uint64Range(0, before).Draw(t, "primary rebuilt at")
	c.nodeApplied = rapid.Uint64Range(1, last).Draw(t, "node applied")
	note := func(g gtids, from, to uint64) {
		for n := max(from, 1); n <= to; n++ {
			g[writer{0, order[n-1]}] = n
		}
	}
	note(c.primary, c.rebuilt, last)
	note(c.replicated, before, before)
	note(c.node, rapid.Uint64Range(0, c.nodeApplied).Draw(t, "node rebuilt at"), c.nodeApplied)
	return c
})

// Against a primary that was itself set up from a copy: what a node got from
// others is never errant, whatever the primary knows of them; what it wrote
// itself past the primary is, in any domain and at any number.
func TestMariaDBErrantRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCluster.Draw(t, "cluster")
		beyond := c.node.beyond(c.nodeID, c.primary, c.replicated)
		for w := range beyond {
			if _, known := c.primary[w]; w.server != c.nodeID || known {
				t.Fatalf("%s is errant in %s, primary %s from %s", beyond, c.node, c.primary, c.replicated)
			}
		}
		if c.rebuilt <= 1 && len(beyond) != 0 {
			t.Fatalf("%s is errant, but the primary knows the whole history %s", beyond, c.primary)
		}
		stray := writer{0, c.nodeID}
		if rapid.Bool().Draw(t, "other domain") {
			stray.domain = 7
		}
		n := c.primary[stray] + 1 + rapid.Uint64Range(0, 3).Draw(t, "ahead")
		dirty := c.node.plus(gtids{stray: n})
		if got := dirty.beyond(c.nodeID, c.primary, c.replicated); got[stray] < n {
			t.Fatalf("%s is not errant in %s against %s from %s: %s", gtids{stray: n}, dirty, c.primary, c.replicated, got)
		}
	})
}

// The same by name.
func TestMariaDBErrantCases(t *testing.T) {
	for _, c := range []struct {
		name, set           string
		id                  uint32
		primary, replicated string
		want                string
	}{
		{"nothing", "0-1-50", 3, "0-1-50", "", ""},
		{"behind", "0-1-40", 3, "0-1-50", "", ""},
		{"a stray write, seen only in the state", "0-1-50,0-3-8", 3, "0-1-50", "", "0-3-8"},
		{"a stray write from before a failover", "0-1-50,0-2-60,0-3-8", 3, "0-1-50,0-2-60", "0-1-50", "0-3-8"},
		{"more of a former primary than the new one got", "0-1-55", 3, "0-1-50,0-2-60", "0-1-50", "0-1-55"},
		{"a former primary with what nobody got", "0-1-55", 1, "0-1-50,0-2-60", "0-1-50", "0-1-55"},
		{"another domain", "0-1-50,5-1-1", 3, "0-1-50", "", "5-1-1"},
		{"another domain, primary promoted", "0-1-50,5-4-1", 3, "0-1-50,0-2-60", "0-1-50", "5-4-1"},
		{"primary rebuilt at 0-2-80, old writers unknown to it", "0-1-50,0-2-80,0-4-99", 3, "0-2-80,0-4-100", "0-2-80", ""},
		{"the same, and one wrote after the primary took over", "0-1-95,0-2-80,0-4-99", 3, "0-2-80,0-4-100", "0-2-80", "0-1-95"},
		{"the same, but it is the node's own", "0-1-50,0-2-80", 1, "0-2-80,0-4-100", "0-2-80", "0-1-50"},
		{"primary rebuilt, nothing written since", "0-1-50,0-2-80", 3, "0-2-80", "0-2-80", ""},
		{"primary without any history", "0-1-50", 3, "0-2-1", "", "0-1-50"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := mariaDB{}.beyond(t.Context(), nil, c.set, c.id, watchdog.Observation{Executed: c.primary, Replicated: c.replicated})
			if err != nil || got != c.want {
				t.Errorf("%q, %v, wanted %q", got, err, c.want)
			}
		})
	}
}

func TestMariaDBGTIDTexts(t *testing.T) {
	for _, c := range []struct{ name, left, right, minus, union string }{
		{"plain", "0-1-10", "0-1-4", "0-1-10", "0-1-10"},
		{"equal", "0-1-10", "0-1-10", "", "0-1-10"},
		{"empty right", "0-1-10", "", "0-1-10", "0-1-10"},
		{"empty left", "", "0-1-10", "", "0-1-10"},
		{"both empty", "", "", "", ""},
		{"servers and domains, out of order", "1-9-4,\n0-10-7, 0-2-2", "0-2-3", "0-10-7,1-9-4", "0-2-3,0-10-7,1-9-4"},
		{"a list with one writer twice", "0-1-4,0-1-9", "0-1-8", "0-1-9", "0-1-9"},
		{"another server's larger number covers nothing", "0-1-4", "0-2-9", "0-1-4", "0-1-4,0-2-9"},
		{"the largest", "4294967295-4294967295-18446744073709551615", "0-1-1", "4294967295-4294967295-18446744073709551615", "0-1-1,4294967295-4294967295-18446744073709551615"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, ctx := mariaDB{}, t.Context()
			if got, err := d.subtract(ctx, nil, c.left, c.right); err != nil || got != c.minus {
				t.Errorf("subtract: %q, %v", got, err)
			}
			if got, err := d.unite(ctx, nil, c.left, c.right); err != nil || got != c.union {
				t.Errorf("union: %q, %v", got, err)
			}
			if got, err := d.subset(ctx, nil, c.left, c.right); err != nil || got != (c.minus == "") {
				t.Errorf("subset: %v, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"nonsense", "0-1", "0-1-", "0-1-2,", ",", "0-1-2-3", "0--2", "-1-2-3", "0-1-x", "4294967296-1-1", "0-1-18446744073709551616",
		"11111111-1111-1111-1111-111111111111:1-5", "0-1-2;0-1-3"} {
		if err := (mariaDB{}).wholeSet(bad); err == nil {
			t.Errorf("%q was taken for a set", bad)
		}
	}
	if got := (gtids{{0, 1}: 90, {0, 2}: 80, {1, 1}: 3}).state(); got != "0-2-80,0-1-90,1-1-3" {
		t.Errorf("state: %s", got)
	}
	if got, err := (mariaDB{}).past("0-2-80", "0-1-50,0-2-95,0-4-99,3-1-1"); err != nil || got != "0-1-50,0-2-80" {
		t.Errorf("past: %s, %v", got, err)
	}
}
