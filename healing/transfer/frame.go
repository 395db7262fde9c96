package transfer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A stream is a greeting and then frames. Each frame's checksum goes over its
// header and payload and begins with the checksum of the frame before, the
// first with that of the greeting's random number: a frame that is missing,
// doubled, in another place, or from another stream is found where it stands.
//
//	greeting: magic (16) random (16)
//	frame:    kind (1) zero (3) length (4) number (8) crc32c (4) payload
//
// Numbers are big-endian. A whole stream ends with a trailer, which says how
// many bytes and frames of data there were and the SHA-256 of their checksums,
// and with nothing after it. Each frame's bytes are proved by its checksum, and
// against somebody on the line by TLS; the order and the whole by the chain and
// the trailer. (A SHA-256 of the bytes themselves took as much of a processor as
// TLS.) Tools say "OK" to less (mbstream, cut at a chunk; R22).
const (
	magic      = "resilver-copy/2\n"
	randomSize = 16
	headerSize = 20
	// maxPayload bounds what a receiver holds at once.
	maxPayload = 1 << 20
	// maxText bounds an error's line.
	maxText = 1000
)

// Kinds of frames.
const (
	kindData    = 'D'
	kindTotal   = 'I' // payload: bytes expected in all (8), an estimate
	kindError   = 'E' // payload: one line of text; the stream ends here
	kindTrailer = 'T' // payload: bytes (8) data frames (8) SHA-256 of their checksums (32)
)

const trailerSize = 8 + 8 + sha256.Size

// ErrTorn is a stream that is not whole, for whatever reason.
var ErrTorn = errors.New("the stream is not whole")

// DonorError is what the donor said instead of the end of a stream.
type DonorError struct{ Text string }

func (e *DonorError) Error() string { return "the donor says: " + e.Text }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is the state that both ends keep of a stream.
type seal struct {
	crc    uint32
	number uint64    // of the next frame
	bytes  uint64    // of data
	frames uint64    // of data
	sum    hash.Hash // of the checksums of data frames
}

func newSeal(random []byte) *seal {
	return &seal{crc: crc32.Checksum(random, castagnoli), sum: sha256.New()}
}

// next returns the checksum of the next frame.
func (s *seal) next(header, payload []byte) uint32 {
	s.crc = crc32.Update(crc32.Update(s.crc, castagnoli, header), castagnoli, payload)
	s.number++
	return s.crc
}

// add counts the data of the frame that next was just called for.
func (s *seal) add(data []byte) {
	s.bytes += uint64(len(data))
	s.frames++
	s.sum.Write(binary.BigEndian.AppendUint32(nil, s.crc))
}

// trailer is what both ends must agree on.
func (s *seal) trailer() []byte {
	b := make([]byte, 0, trailerSize)
	b = binary.BigEndian.AppendUint64(b, s.bytes)
	b = binary.BigEndian.AppendUint64(b, s.frames)
	return s.sum.Sum(b)
}

// frameWriter writes frames, each in one Write.
type frameWriter struct {
	w    io.Writer
	seal *seal
}

// greet begins a stream.
func greet(w io.Writer) (*frameWriter, error) {
	b := append(make([]byte, 0, len(magic)+randomSize), magic...)
	b = b[:cap(b)]
	if _, err := rand.Read(b[len(magic):]); err != nil {
		return nil, fmt.Errorf("begin a stream: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("write a stream: %w", err)
	}
	return &frameWriter{w: w, seal: newSeal(b[len(magic):])}, nil
}

// frame writes the frame whose payload stands in buf after room for a header.
func (f *frameWriter) frame(kind byte, buf []byte) error {
	header, payload := buf[:headerSize], buf[headerSize:]
	header[0], header[1], header[2], header[3] = kind, 0, 0, 0
	binary.BigEndian.PutUint32(header[4:], uint32(len(payload)))
	binary.BigEndian.PutUint64(header[8:], f.seal.number)
	binary.BigEndian.PutUint32(header[16:], f.seal.next(header[:16], payload))
	if kind == kindData {
		f.seal.add(payload)
	}
	if _, err := f.w.Write(buf); err != nil {
		return fmt.Errorf("write a stream: %w", err)
	}
	return nil
}

// small writes a frame that is not data.
func (f *frameWriter) small(kind byte, payload []byte) error {
	return f.frame(kind, append(make([]byte, headerSize), payload...))
}

// frameReader reads frames and believes none of them before its checksum.
type frameReader struct {
	r    io.Reader
	seal *seal
	buf  []byte
}

func torn(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrTorn, fmt.Errorf(format, args...))
}

// meet reads the greeting.
func meet(r io.Reader) (*frameReader, error) {
	b := make([]byte, len(magic)+randomSize)
	n, err := io.ReadFull(r, b)
	if got := string(b[:n]); n > 0 && !strings.HasPrefix(got, magic) && !strings.HasPrefix(magic, got) {
		return nil, torn("it is not one of resilver's: it begins with %q", got)
	}
	if err != nil {
		return nil, torn("it ended before it began: %w", whole(err))
	}
	return &frameReader{r: r, seal: newSeal(b[len(magic):])}, nil
}

// next reads one frame. Its payload is valid until the next one.
func (f *frameReader) next() (byte, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return 0, nil, torn("no frame %d: %w", f.seal.number, whole(err))
	}
	length, number := binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint64(header[8:])
	if header[1]|header[2]|header[3] != 0 || length > maxPayload {
		return 0, nil, torn("frame %d has no header of one", f.seal.number)
	}
	if number != f.seal.number {
		return 0, nil, torn("frame %d stands where frame %d belongs", number, f.seal.number)
	}
	if int(length) > len(f.buf) {
		f.buf = make([]byte, max(length, bufferSize/4))
	}
	payload := f.buf[:length]
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return 0, nil, torn("frame %d is cut: %w", number, whole(err))
	}
	if f.seal.next(header[:16], payload) != binary.BigEndian.Uint32(header[16:]) {
		return 0, nil, torn("frame %d does not match its checksum", number)
	}
	return header[0], payload, nil
}

// whole is the error for an end where none should be.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// oneLine makes text fit for a frame, a log and a terminal.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-3], "") + "..."
	}
	return text
}
