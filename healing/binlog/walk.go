package binlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// The frame of every event (MySQL and MariaDB alike, version 4 of the format):
// timestamp 4, type 1, server id 4, length 4, end position 4, flags 2.
const (
	headerBytes = 19
	typeAt      = 4
	lengthAt    = 9
	endAt       = 13

	typeFormat          = 15
	typeGTID            = 33 // MySQL
	typeTaggedGTID      = 42 // MySQL, from 8.4
	typeMariaDBGTID     = 162
	typeStartEncryption = 164           // MariaDB
	largestEvent        = 1<<30 + 1<<20 // max_allowed_packet of a replica, and what is around a row
)

var (
	magic     = []byte{0xfe, 'b', 'i', 'n'}
	encrypted = []byte{0xfd, 'b', 'i', 'n'} // MySQL
)

// ErrEncrypted means that a log can be read by its server alone.
var ErrEncrypted = errors.New("it is encrypted")

// extent is how far a file's events go.
type extent struct {
	last  int64 // where the last whole event begins; 0: there is none
	whole int64 // where it ends
	torn  bool  // the first part of one more event follows
	gtids int   // how many of the events name a transaction
}

// event is one whole event of a file.
type event struct {
	at, length int64
	kind       byte
	// body is what follows the header, with the checksum; only of kinds that
	// say where a transaction begins and ends, and not of longer ones than shown.
	body []byte
}

// shown bounds the bodies that are looked into.
const shown = 1 << 20

// walk follows the events' lengths to the end of the file. Each event names its
// own end, by which a length gone wrong is told from an event that a crash cut
// off; those in a relay log that came from the source name their end there, one
// after the other.
func walk(path string, relay bool) (extent, error) {
	return walkTo(path, relay, math.MaxInt64, func(event) {})
}

// walkTo does so for the first bytes of a file, and shows each event.
func walkTo(path string, relay bool, limit int64, show func(event)) (extent, error) {
	f, err := open(path)
	if err != nil {
		return extent{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return extent{}, err
	}
	e, err := events(bufio.NewReader(f), min(info.Size(), limit), relay, show)
	if err != nil {
		return extent{}, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err, f.Close())
	}
	return f, nil
}

func events(r *bufio.Reader, size int64, relay bool, show func(event)) (extent, error) {
	e := extent{whole: int64(len(magic))}
	before := uint32(0) // the end that the event before names
	if size < e.whole {
		return extent{torn: true}, nil // made, and nothing written yet
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return e, err
	}
	switch string(head) {
	case string(magic):
	case string(encrypted):
		return e, ErrEncrypted
	default:
		return e, errors.New("it is no binary log")
	}
	for e.whole < size {
		left := size - e.whole
		if left < headerBytes {
			e.torn = true
			return e, nil
		}
		h := make([]byte, headerBytes)
		if _, err := io.ReadFull(r, h); err != nil {
			return e, err
		}
		length := int64(binary.LittleEndian.Uint32(h[lengthAt:]))
		ends := binary.LittleEndian.Uint32(h[endAt:])
		follows := ends == uint32(e.whole+length) || relay && before != 0 && ends == before+uint32(length)
		switch {
		case h[typeAt] == typeStartEncryption:
			return e, ErrEncrypted
		case length < headerBytes || length > largestEvent || h[typeAt] == 0,
			e.last == 0 && h[typeAt] != typeFormat,
			!follows && (!relay || length > left):
			return e, fmt.Errorf("what is at %d is no event", e.whole)
		}
		if length > left {
			e.torn = true
			return e, nil
		}
		seen := event{at: e.whole, length: length, kind: h[typeAt]}
		rest := length - headerBytes
		if bounds(seen.kind) && rest <= shown {
			seen.body, rest = make([]byte, rest), 0
			if _, err := io.ReadFull(r, seen.body); err != nil {
				return e, err
			}
		}
		if _, err := io.CopyN(io.Discard, r, rest); err != nil {
			return e, err
		}
		show(seen)
		switch h[typeAt] {
		case typeGTID, typeTaggedGTID, typeMariaDBGTID:
			e.gtids++
		}
		e.last, e.whole, before = e.whole, e.whole+length, ends
	}
	return e, nil
}
