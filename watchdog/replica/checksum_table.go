package replica

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"resilver/watchdog"
)

// keyKind is how the values of a key column are written.
type keyKind int

const (
	keyNumber keyKind = iota
	keyTime
	keyBytes
	keyText
)

// keyColumn is a column of the primary key.
type keyColumn struct {
	name    string
	kind    keyKind
	charset string // of keyText
}

// layout is what of a table its checksum is made from.
type layout struct {
	watchdog.TableName
	hash  string      // an expression: the hash of a row
	key   []keyColumn // none: the table is one chunk
	shape string
	rows  int // in a chunk
}

// What a chunk holds, about, and the bounds of its number of rows.
const (
	chunkBytes  = 8 << 20
	minRows     = 1
	maxRows     = 20000
	wholeBytes  = 64 << 20 // a table without a usable key is compared up to this size
	defaultRows = 1000     // where the server knows no length of a row
)

// noKey says why a table that is too large for one chunk is left out.
const noKey = "no primary key that can be walked along, and larger than 64 MiB"

// expression is the bytes of a column that its value is known by, in full: a
// FLOAT is shown rounded, an ENUM is also known by an empty text, and texts are
// equal by their collation when their bytes are not. A long one is hashed, so
// that no expression is larger than the server allows (max_allowed_packet).
func expression(name, kind string) string {
	c := identifier(name)
	switch kind {
	case "float":
		c = "CAST(" + c + " AS DOUBLE)"
	case "enum", "set", "bit":
		c += " + 0"
	case "char", "varchar":
		c = "CAST(" + c + " AS BINARY)"
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "date", "datetime", "timestamp", "time", "year", "binary", "varbinary":
	case "tinyblob", "blob", "mediumblob", "longblob", "tinytext", "text", "mediumtext", "longtext", "json":
		c = "SHA2(" + c + ", 256)"
	default: // geometries, vectors, and MariaDB's own types
		c = "SHA2(CAST(" + c + " AS BINARY), 256)"
	}
	return "IF(" + identifier(name) + " IS NULL, 'n', CONCAT(LENGTH(" + c + "), ':', " + c + "))"
}

// kindOf says how a key column's values are written, false for one whose order
// and comparison are not the same or not exact.
func kindOf(kind string) (keyKind, bool) {
	switch kind {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year":
		return keyNumber, true
	case "date", "datetime", "timestamp", "time":
		return keyTime, true
	case "binary", "varbinary":
		return keyBytes, true
	case "char", "varchar":
		return keyText, true
	}
	return 0, false
}

// layoutOf reads a table's columns. A table that is not there is an error of
// the server's number 1146, as a statement would get.
func (ss *session) layoutOf(ctx context.Context, t watchdog.TableName) (*layout, error) {
	const what = "read the columns of a table"
	rows, err := ss.query(ctx, what, `SELECT c.COLUMN_NAME AS name, LOWER(c.DATA_TYPE) AS kind, c.COLUMN_TYPE AS type,
			COALESCE(c.CHARACTER_SET_NAME, '') AS charset, UPPER(c.EXTRA) LIKE '%VIRTUAL GENERATED%' AS computed,
			k.SEQ_IN_INDEX AS place, k.SUB_PART AS part, COALESCE(t.AVG_ROW_LENGTH, 0) AS length
		FROM information_schema.TABLES AS t JOIN information_schema.COLUMNS AS c ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
		LEFT JOIN information_schema.STATISTICS AS k ON k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME
			AND k.COLUMN_NAME = c.COLUMN_NAME AND k.INDEX_NAME = 'PRIMARY'
		WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ? AND t.TABLE_TYPE = 'BASE TABLE'
			AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY c.ORDINAL_POSITION`, t.Schema, t.Table)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errNoTable
	}
	l := &layout{TableName: t, rows: defaultRows}
	var parts, shape []string
	places, usable := map[int]keyColumn{}, true
	for _, r := range rows {
		name, kind := r.text("name"), r.text("kind")
		if n := r.int("length"); n > 0 {
			l.rows = min(max(chunkBytes/n, minRows), maxRows)
		}
		if place := r.int("place"); place > 0 {
			k, ok := kindOf(kind)
			usable = usable && ok && r.null("part") && charsetName.MatchString(r.text("charset"))
			places[place] = keyColumn{name, k, r.text("charset")}
		}
		shape = append(shape, fmt.Sprintf("%q %q %q %s", name, r.text("type"), r.text("charset"), r.text("place")))
		if !r.yes("computed") { // nothing is stored of it
			parts = append(parts, expression(name, kind))
		}
		if err := r.err(); err != nil {
			return nil, named(what, err)
		}
	}
	for i := 1; usable && i <= len(places); i++ {
		l.key = append(l.key, places[i])
	}
	sum := sha256.Sum256([]byte(strings.Join(shape, "\n")))
	l.shape = hex.EncodeToString(sum[:8])
	l.hash = "CAST(CONV(LEFT(SHA2(CONCAT(" + strings.Join(parts, ", ") + "), 256), 16), 16, 10) AS UNSIGNED)"
	return l, nil
}

var (
	charsetName = regexp.MustCompile(`^[a-z0-9_]*$`)
	numberText  = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	timeText    = regexp.MustCompile(`^-?[0-9][0-9:. -]*$`)
	hexText     = regexp.MustCompile(`^0x([0-9A-F]{2})*$`)
)

// reads is an expression that writes the column's value as a Key has it.
func (k keyColumn) reads() string {
	switch k.kind {
	case keyBytes, keyText:
		return "CONCAT('0x', HEX(" + identifier(k.name) + "))"
	}
	return "CAST(" + identifier(k.name) + " AS CHAR)"
}

// literal is such a value in a statement. What came from another node is no
// part of one unless it is what it should be.
func (k keyColumn) literal(value string) (string, error) {
	ok := false
	out := value
	switch k.kind {
	case keyNumber:
		ok = numberText.MatchString(value)
	case keyTime:
		ok, out = timeText.MatchString(value), "'"+value+"'"
	case keyBytes:
		ok, out = hexText.MatchString(value), "X'"+strings.TrimPrefix(value, "0x")+"'"
	case keyText:
		ok, out = hexText.MatchString(value), "_"+k.charset+" X'"+strings.TrimPrefix(value, "0x")+"'"
	}
	if !ok {
		return "", fmt.Errorf("%q is no value of the key column %s", value, k.name)
	}
	return out, nil
}

// bound is the condition that a row lies beyond a key: behind it with ">",
// before it with "<", itself included with "<=". The first comparison alone
// says it again for the optimizer, which finds no range in the rest.
func (l *layout) bound(sign string, key watchdog.Key) (string, error) {
	if len(key) == 0 || len(key) > len(l.key) {
		return "", fmt.Errorf("a key of %s has up to %d columns, not %d", l.TableName, len(l.key), len(key))
	}
	strict := sign[:1]
	var any []string
	equal, first := "", ""
	for i, value := range key {
		v, err := l.key[i].literal(value)
		if err != nil {
			return "", err
		}
		column := identifier(l.key[i].name)
		if i == 0 {
			first = column + " " + strict + "= " + v
		}
		compare := strict
		if i == len(key)-1 {
			compare = sign
		}
		any = append(any, "("+equal+column+" "+compare+" "+v+")")
		equal += column + " = " + v + " AND "
	}
	if len(any) == 1 {
		return any[0], nil
	}
	return "(" + first + " AND (" + strings.Join(any, " OR ") + "))", nil
}

// where is the condition of a range of keys, and the index that it goes by.
func (l *layout) where(after, upto watchdog.Key) (string, error) {
	var all []string
	for _, b := range []struct {
		sign string
		key  watchdog.Key
	}{{">", after}, {"<=", upto}} {
		if b.key == nil {
			continue
		}
		c, err := l.bound(b.sign, b.key)
		if err != nil {
			return "", err
		}
		all = append(all, c)
	}
	out := l.from()
	if len(all) > 0 {
		out += " WHERE " + strings.Join(all, " AND ")
	}
	return out, nil
}

func (l *layout) from() string {
	out := " FROM " + identifier(l.Schema) + "." + identifier(l.Table)
	if len(l.key) > 0 {
		out += " FORCE INDEX (PRIMARY)"
	}
	return out
}

// list joins the key's columns, each as of says.
func (l *layout) list(of func(i int, k keyColumn) string) string {
	out := make([]string, 0, len(l.key))
	for i, k := range l.key {
		out = append(out, of(i, k))
	}
	return strings.Join(out, ", ")
}

func (l *layout) ascending() string {
	return l.list(func(_ int, k keyColumn) string { return identifier(k.name) })
}

// keys selects the key's columns as k0, k1 and so on.
func (l *layout) keys() string {
	return l.list(func(i int, k keyColumn) string { return fmt.Sprintf("%s AS k%d", k.reads(), i) })
}

// keyOf reads what keys selected.
func (l *layout) keyOf(r *row) (watchdog.Key, error) {
	key := make(watchdog.Key, 0, len(l.key))
	for i, k := range l.key {
		key = append(key, r.text(fmt.Sprintf("k%d", i)))
		if _, err := k.literal(key[i]); err != nil {
			return nil, err
		}
	}
	return slices.Clip(key), r.err()
}
