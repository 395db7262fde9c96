// Package chaos is the crash matrix as data: what is killed at which point of a rebuild, in which order, what came of it, and the page that tells
// it. It starts and kills nothing: that is the end-to-end tests' part.
package chaos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"resilver/cmd/internal/lab"
)

// Victim is what is killed.
type Victim string

// The victims. Where the rebuilt node's mysqld is down on purpose, its
// supervisor is killed in its place.
const (
	Sidecar      Victim = "sidecar"
	Mysqld       Victim = "mysqld"
	Supervisor   Victim = "supervise"
	DonorSidecar Victim = "donor's sidecar"
	DonorMysqld  Victim = "donor's mysqld"
	// Power is that of the rebuilt node's machine: all its programs die, and its
	// disk loses what was not synced.
	Power Victim = "power"
)

// Columns are the victims as the tables have them, one a column; Supervisor
// stands in the column of Mysqld.
func Columns() []Victim { return []Victim{Sidecar, Mysqld, DonorSidecar, DonorMysqld, Power} }

// Deadline is how long after the kill a cell may take until all is healed.
const Deadline = 3 * time.Minute

// points are where a rebuild can be held, by the names of the failpoints: at
// the start and the end of each step, and within those that close the old
// server and exchange the data.
var points = []string{
	"preflight.begin", "preflight.end", "quarantine.begin", "quarantine.end", "stage.begin", "stage.end", "prepare.begin", "prepare.end",
	"own.begin", "own.end", "rehearse.begin", "rehearse.end",
	"stop.begin", "stop.closed", "stop.ending", "stop.end",
	"swap.begin", "swap.moving-out", "swap.moved-out", "swap.exchanged", "swap.moving-in", "swap.moved-in", "swap.end",
	"start.begin", "start.end", "attach.begin", "attach.end", "verify.begin", "verify.end",
	"settle.begin", "settle.released", "settle.end",
}

// Points are the points in the order in which a rebuild comes to them.
func Points() []string { return slices.Clone(points) }

// Cell is one kill.
type Cell struct {
	Engine string `json:"engine"`
	Point  string `json:"point"`
	Victim Victim `json:"victim"`
}

func (c Cell) String() string {
	return fmt.Sprintf("%s %s %s", c.Engine, c.Point, c.Victim)
}

// away says that the rebuilt node's mysqld is down at a point on purpose.
func away(point string) bool {
	return point == "stop.end" || strings.HasPrefix(point, "swap.") || point == "start.begin"
}

// cell is the one of a column.
func cell(engine, point string, column Victim) Cell {
	if column == Mysqld && away(point) {
		column = Supervisor
	}
	return Cell{engine, point, column}
}

// Survives says that a rebuild whose own sidecar dies at a point goes on: its
// old server was ended on purpose there, with every check passed. Before that
// it is given up.
func Survives(point string) bool {
	return slices.Index(points, point) >= slices.Index(points, "stop.end")
}

// Cells are all cells of an engine.
func Cells(engine string) []Cell {
	var out []Cell
	for _, point := range points {
		for _, victim := range Columns() {
			out = append(out, cell(engine, point, victim))
		}
	}
	return out
}

// All are the cells of every engine.
func All() []Cell {
	var out []Cell
	for _, engine := range lab.Engines() {
		out = append(out, Cells(engine)...)
	}
	return out
}

// Diagonal is an engine's share of a short run, in which each point comes once:
// the engines take turns, and so do the victims.
func Diagonal(engine string) []Cell {
	var out []Cell
	engines := lab.Engines()
	// In this order each engine has a supervisor killed, its sidecar in and after
	// the swap, and the power cut in the middle of it.
	columns := []Victim{Power, DonorMysqld, DonorSidecar, Mysqld, Sidecar}
	for i, point := range points {
		if engines[i%len(engines)] != engine {
			continue
		}
		turn := len(out) + len(out)/len(columns) + i%len(engines)
		out = append(out, cell(engine, point, columns[turn%len(columns)]))
	}
	return out
}

// Shuffled are cells in the order of a seed, and how long each killed program
// stays away before it is brought back.
func Shuffled(cells []Cell, seed uint64) ([]Cell, map[Cell]time.Duration) {
	// Each cell draws by what it is, so that it is the same however many others
	// run.
	order := map[Cell]uint64{}
	pauses := map[Cell]time.Duration{}
	for _, c := range cells {
		name := fnv.New64a()
		fmt.Fprint(name, c)
		r := rand.New(rand.NewPCG(seed, name.Sum64()))
		order[c] = r.Uint64()
		pauses[c] = time.Duration(r.IntN(int(longestPause/time.Millisecond))) * time.Millisecond
	}
	out := slices.Clone(cells)
	slices.SortFunc(out, func(a, b Cell) int { return cmp.Compare(order[a], order[b]) })
	return out, pauses
}

// longestPause is about what a manager waits before it restarts a program.
const longestPause = 3 * time.Second
