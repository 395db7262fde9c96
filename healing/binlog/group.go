package binlog

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Events beside those of walk.go, by what they are to a transaction.
const (
	// Of the log, and of no transaction.
	typeStop          = 3
	typeRotate        = 4
	typeHeartbeat     = 27 // MySQL
	typePreviousGTIDs = 35 // MySQL
	typeHeartbeat2    = 41 // MySQL
	typeCheckpoint    = 161
	typeGTIDList      = 163

	typeAnonymous = 34 // MySQL: a transaction without an id

	// What may end one.
	typeQuery           = 2
	typeXID             = 16
	typeXAPrepare       = 38
	typePayload         = 40  // MySQL: all of a transaction, compressed
	typeQueryCompressed = 165 // MariaDB
)

// bounds says which events are looked into.
func bounds(kind byte) bool {
	return kind == typeFormat || kind == typeQuery || kind == typeMariaDBGTID
}

// Part is a stretch of a file.
type Part struct {
	File       string
	At, Length int64
}

// Transaction is one transaction that is whole in a log.
type Transaction struct {
	GTID   string
	Format Part   // the event that says how its events are written
	Events []Part // more than one where a relay log ended in the middle of it
}

func (t *Transaction) add(file string, e event) {
	if last := len(t.Events) - 1; last >= 0 && t.Events[last].File == file && t.Events[last].At+t.Events[last].Length == e.at {
		t.Events[last].Length += e.length
		return
	}
	t.Events = append(t.Events, Part{file, e.at, e.length})
}

// grouping puts the events of a log's files, in their order, together to
// transactions. One that is cut off is dropped: either it comes again, or it
// will be missed.
type grouping struct {
	mariadb  bool
	file     string
	names    map[int64]string // the wanted transactions of the file, by where they begin
	format   Part
	checksum int // bytes at the end of each event

	open   *Transaction // a wanted one that has not ended
	ended  bool         // a wanted one has ended, and no other begun
	inside bool         // MySQL: after BEGIN
	alone  bool         // MariaDB: a statement without a transaction around it
	whole  []Transaction
	err    error
}

func (g *grouping) event(e event) {
	switch e.kind {
	case typeFormat:
		g.format, g.checksum = Part{g.file, e.at, e.length}, checksumBytes(e.body)
	case typeStop, typeRotate, typeHeartbeat, typeHeartbeat2, typePreviousGTIDs, typeCheckpoint, typeGTIDList:
	case typeGTID, typeTaggedGTID, typeMariaDBGTID, typeAnonymous:
		g.begin(e)
	default:
		g.inner(e)
	}
}

func (g *grouping) begin(e event) {
	const standalone = 1 // MariaDB, FL_STANDALONE; after number and domain
	g.open, g.ended, g.inside = nil, false, false
	g.alone = e.kind == typeMariaDBGTID && len(e.body) > 12 && e.body[12]&standalone != 0
	if name, wanted := g.names[e.at]; wanted {
		g.open = &Transaction{GTID: name, Format: g.format}
		g.open.add(g.file, e)
	}
}

func (g *grouping) inner(e event) {
	if g.ended && g.err == nil { // it did not end where it was taken to
		g.err = fmt.Errorf("%s: the event at %d is of no transaction", g.file, e.at)
	}
	if g.open == nil {
		return
	}
	g.open.add(g.file, e)
	if g.ends(e) {
		g.whole = append(g.whole, *g.open)
		g.open, g.ended = nil, true
	}
}

// ends says that e is the last event of a transaction.
func (g *grouping) ends(e event) bool {
	switch e.kind {
	case typeXID, typeXAPrepare:
		return true
	case typePayload:
		return !g.inside
	case typeQueryCompressed: // a COMMIT is too short to be compressed
		return g.alone
	case typeQuery:
		text, known := g.statement(e)
		if g.mariadb {
			return g.alone || known && (commits(text) || strings.HasPrefix(text, "XA COMMIT") || strings.HasPrefix(text, "XA ROLLBACK"))
		}
		if g.inside {
			return known && commits(text)
		}
		// A table that is created with its rows opens one too.
		g.inside = !known || text == "BEGIN" || strings.HasPrefix(text, "XA START") || strings.HasSuffix(text, "START TRANSACTION")
		return !g.inside
	}
	return false
}

func commits(text string) bool { return text == "COMMIT" || text == "ROLLBACK" }

// statement is the text of a query event: after the thread, the time, the
// lengths of the schema's name and of the status, and these two.
func (g *grouping) statement(e event) (text string, known bool) {
	const schemaAt, statusAt, fixed = 8, 11, 13
	if len(e.body) < fixed {
		return "", false
	}
	from := fixed + int(binary.LittleEndian.Uint16(e.body[statusAt:])) + int(e.body[schemaAt]) + 1
	to := len(e.body) - g.checksum
	if from > to {
		return "", false
	}
	return string(e.body[from:to]), true
}

// checksumBytes are how many bytes at the end of each event are its checksum:
// the kind stands before the format's own, which is always there.
func checksumBytes(format []byte) int {
	const crc32, size = 1, 4
	if n := len(format); n > size && format[n-size-1] == crc32 {
		return size
	}
	return 0
}
