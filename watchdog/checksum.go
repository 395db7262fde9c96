package watchdog

import (
	"errors"
	"fmt"
)

// ErrTooSlow means that a chunk was not read in time: ask for a smaller one.
var ErrTooSlow = errors.New("a chunk was not read in time")

// TableName is a table of people's schemas.
type TableName struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

func (t TableName) String() string { return t.Schema + "." + t.Table }

// Key is a value of a table's primary key, or of its first columns, as the
// checksum functions of `watchdog/replica` write it: numbers and times as text,
// strings as 0x and the hexadecimal digits of their bytes.
type Key []string

// Walk is a way through a table's rows in the order of the primary key, chunk
// by chunk.
type Walk struct {
	TableName
	After  Key  `json:"after"`  // begin after this key; nil: at the first row
	Single bool `json:"single"` // all of it in one chunk, up to Upto
	Upto   Key  `json:"upto"`   // of a single one; nil: to the last row
	Random bool `json:"random"` // one chunk that begins somewhere
}

// Chunk is a range of a table's rows and what they come to.
type Chunk struct {
	TableName
	After Key `json:"after"` // exclusive; nil: from the first row
	Upto  Key `json:"upto"`  // inclusive; nil: to the last row
	// Rows is their number, -1 where the table is not there, and Sum the sum of
	// a hash of each.
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"`
	// Shape stands for the columns that went into it, and the key.
	Shape string `json:"shape"`
}

// Same says that two chunks of the same range hold the same.
func (c Chunk) Same(o Chunk) bool {
	return c.Rows == o.Rows && c.Sum == o.Sum && c.Shape == o.Shape
}

// ChecksumOrder asks a node, under the lease, for chunks as of one position.
type ChecksumOrder struct {
	ClusterID string `json:"cluster_id"`
	Token     uint64 `json:"token"`
	Tables    bool   `json:"tables"` // only which tables there are
	Walks     []Walk `json:"walks"`  // in order, as far as time allows
	Rows      int    `json:"rows"`   // in a chunk, at most; 0: as the node sees fit
}

// Checksums is the answer.
type Checksums struct {
	Position string  `json:"position"` // the executed set that the chunks are as of
	Chunks   []Chunk `json:"chunks"`
	// Ended counts the walks that are through, from the first on.
	Ended int `json:"ended"`
	// Tables are those that can be compared, and LeftOut those that cannot.
	Tables  []TableSize `json:"tables"`
	LeftOut []LeftOut   `json:"left_out"`
}

// TableSize is a table and about how much it holds.
type TableSize struct {
	TableName
	Bytes int64 `json:"bytes"`
}

// LeftOut is a table that was not compared.
type LeftOut struct {
	Table  string `json:"table"`
	Reason string `json:"reason"`
}

// Compared is what of a copy was compared with the primary, as history keeps
// it.
type Compared struct {
	Mode     string    `json:"mode"` // sample | full
	With     string    `json:"with"` // the primary's node
	Tables   int       `json:"tables"`
	Chunks   int       `json:"chunks"`
	Rows     int64     `json:"rows"`
	Position string    `json:"position"` // of the last comparison
	LeftOut  []LeftOut `json:"left_out"` // the first ten
	Omitted  int       `json:"omitted"`  // how many were left out in all
}

// Omit notes a table that is not compared.
func (c *Compared) Omit(o LeftOut) {
	c.Omitted++
	if len(c.LeftOut) < 10 {
		c.LeftOut = append(c.LeftOut, o)
	}
}

func (c *Compared) String() string {
	return fmt.Sprintf("%d rows in %d chunks of %d tables are as at %s (%s); %d tables left out", c.Rows, c.Chunks, c.Tables, c.With, c.Mode, c.Omitted)
}
