package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func well() error { return nil }

// sent is the stream of data in reads of the given sizes.
func sent(t testing.TB, data []byte, o SendOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	o.From = io.MultiReader(o.From, bytes.NewReader(data))
	if err := Send(context.Background(), &out, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// pieces reads data in pieces of random sizes.
type pieces struct {
	data []byte
	rng  *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(len(p.data), 1+p.rng.IntN(400))])
	p.data = p.data[n:]
	return n, nil
}

// take receives a stream from memory.
func take(stream []byte) ([]byte, int64, error) {
	var got bytes.Buffer
	n, err := Receive(context.Background(), bytes.NewReader(stream), ReceiveOptions{To: &got})
	return got.Bytes(), n, err
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// frameEnds are the offsets at which a stream's frames end; the first is the
// end of the greeting.
func frameEnds(t testing.TB, stream []byte) []int {
	t.Helper()
	at := len(magic) + randomSize
	ends := []int{at}
	for at < len(stream) {
		at += headerSize + int(binary.BigEndian.Uint32(stream[at+4:]))
		ends = append(ends, at)
	}
	if at != len(stream) {
		t.Fatalf("frames end at %d of %d", at, len(stream))
	}
	return ends
}

// TestInvariant11TornStreamsAreRefused: of 500 seeded streams that were cut,
// lost, doubled, swapped, garbled, mixed with another stream, or answered by
// something else, none is accepted; nor is any at any single cut (X9, P18).
func TestInvariant11TornStreamsAreRefused(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 11))
		data := randomBytes(rng, 1+rng.IntN(20000))
		good := sent(t, nil, SendOptions{From: &pieces{data, rng}, Finish: well, Total: int64(rng.IntN(2) * 30000)})
		if got, n, err := take(good); err != nil || n != int64(len(data)) || !bytes.Equal(got, data) {
			t.Fatalf("seed %d: the whole stream: %d bytes, %v", seed, n, err)
		}
		kind, bad := tear(t, rng, good)
		kinds[kind]++
		if bytes.Equal(bad, good) {
			t.Fatalf("seed %d: %s changed nothing", seed, kind)
		}
		_, n, err := take(bad)
		if err == nil || n != 0 {
			t.Errorf("seed %d: %s: %d bytes accepted, %v", seed, kind, n, err)
		}
		var donor *DonorError
		if !errors.Is(err, ErrTorn) && !errors.As(err, &donor) {
			t.Errorf("seed %d: %s: %v", seed, kind, err)
		}
	}
	t.Log(kinds)
	if len(kinds) < 12 {
		t.Errorf("only %v", kinds)
	}
}

// tear makes a stream that must not be accepted out of one that is.
func tear(t testing.TB, rng *rand.Rand, good []byte) (string, []byte) {
	ends := frameEnds(t, good)
	frames := len(ends) - 1 // the trailer included
	frame := func(i int) []byte { return good[ends[i]:ends[i+1]] }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	i := rng.IntN(frames)
	switch rng.IntN(13) {
	case 0:
		return "cut anywhere", good[:rng.IntN(len(good))]
	case 1:
		return "cut at a frame", good[:ends[i]]
	case 2:
		return "last frames missing", good[:ends[max(0, frames-1-rng.IntN(3))]]
	case 3:
		return "frame missing", join(good[:ends[i]], good[ends[i+1]:])
	case 4:
		return "frame doubled", join(good[:ends[i+1]], frame(i), good[ends[i+1]:])
	case 5:
		j := rng.IntN(frames)
		if i == j || bytes.Equal(frame(i), frame(j)) {
			return "empty", nil
		}
		i, j = min(i, j), max(i, j)
		return "frames swapped", join(good[:ends[i]], frame(j), good[ends[i+1]:ends[j]], frame(i), good[ends[j+1]:])
	case 6:
		bad := bytes.Clone(good)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		return "bit flipped", bad
	case 7:
		bad := bytes.Clone(good)
		at := rng.IntN(len(bad))
		return "byte lost", append(bad[:at], bad[at+1:]...)
	case 8:
		at := rng.IntN(len(good) + 1)
		return "bytes inserted", join(good[:at], randomBytes(rng, 1+rng.IntN(40)), good[at:])
	case 9:
		other := sent(t, nil, SendOptions{From: &pieces{randomBytes(rng, 3000), rng}, Finish: well})
		return "end of another stream", join(good[:ends[i]], other[frameEnds(t, other)[min(i, 1)]:])
	case 10:
		return "an error's text", []byte("ERROR 1045: no way in\n")[:1+rng.IntN(20)]
	case 11:
		return "two streams", join(good, good)
	}
	if ends[i] > len(good)-200 {
		return "trailer alone", join(good[:ends[0]], frame(frames-1))
	}
	bad := bytes.Clone(good)
	at := ends[i] + rng.IntN(100)
	copy(bad[at:], make([]byte, 100))
	if bytes.Equal(bad, good) {
		return "empty", nil
	}
	return "zeros", bad
}

// Every cut, at every byte.
func TestInvariant11EveryCutIsRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good := sent(t, nil, SendOptions{From: &pieces{randomBytes(rng, 3000), rng}, Finish: well, Total: 3000})
	for n := range good {
		if _, _, err := take(good[:n]); !errors.Is(err, ErrTorn) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", n, len(good), err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	good := sent(f, nil, SendOptions{From: &pieces{randomBytes(rng, 900), rng}, Finish: well})
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		if _, _, err := take(stream); err == nil && !bytes.Equal(stream, good) {
			t.Error("accepted")
		}
	})
}

// What the producer says at its end decides, also after its last byte.
func TestSendNoTrailerWithoutSuccess(t *testing.T) {
	failed := errors.New("mariadb-backup ended with status 1:\nno \x1b[31mprivilege")
	var out bytes.Buffer
	err := Send(t.Context(), &out, SendOptions{From: strings.NewReader("all of it"), Finish: func() error { return failed }})
	if !errors.Is(err, failed) {
		t.Errorf("send: %v", err)
	}
	_, _, err = take(out.Bytes())
	var donor *DonorError
	if !errors.As(err, &donor) || donor.Text != "mariadb-backup ended with status 1: no [31mprivilege" {
		t.Errorf("receive: %v", err)
	}
}

func TestSendNothingIsNoStream(t *testing.T) {
	if _, _, err := take(sent(t, nil, SendOptions{From: strings.NewReader(""), Finish: well})); !errors.Is(err, ErrTorn) {
		t.Errorf("an empty stream: %v", err)
	}
	if _, err := Receive(t.Context(), strings.NewReader(""), ReceiveOptions{}); err == nil {
		t.Error("received to nowhere")
	}
	if err := Send(t.Context(), io.Discard, SendOptions{}); err == nil {
		t.Error("sent from nowhere")
	}
}

// A sender that loses its lease says so, though its producer is silent.
func TestSendEndsWithItsContext(t *testing.T) {
	near, far := tcpPair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() { result <- Send(ctx, near, SendOptions{From: r, Finish: well, Stall: time.Minute}) }()
	if _, err := io.WriteString(w, "some of it"); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	received := make(chan error, 1)
	first := make(chan struct{}, 10)
	go func() {
		_, err := Receive(t.Context(), far, ReceiveOptions{To: &got, Progress: func(int64, int64) { first <- struct{}{} }})
		received <- err
	}()
	<-first
	cancel(errStale)
	if err := wait(t, result); !errors.Is(err, errStale) {
		t.Errorf("send: %v", err)
	}
	var donor *DonorError
	if err := wait(t, received); !errors.As(err, &donor) || !strings.Contains(donor.Text, errStale.Error()) {
		t.Errorf("receive: %v", err)
	}
}

// A receiver that takes nothing ends the sender.
func TestSendStall(t *testing.T) {
	near, _ := tcpPair(t)
	err := Send(t.Context(), near, SendOptions{From: endless{}, Finish: well, Stall: 50 * time.Millisecond})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A line that is open and silent, and a sink that takes nothing, both stall;
// the end of ctx is told apart.
func TestReceiveStall(t *testing.T) {
	var stalled *StallError
	t.Run("line", func(t *testing.T) {
		_, far := tcpPair(t)
		_, err := Receive(t.Context(), far, ReceiveOptions{To: io.Discard, Stall: 50 * time.Millisecond})
		if !errors.As(err, &stalled) || stalled.After != 50*time.Millisecond {
			t.Errorf("receive: %v", err)
		}
	})
	t.Run("only estimates", func(t *testing.T) {
		near, far := tcpPair(t)
		go func() {
			frames, err := greet(near)
			for err == nil {
				time.Sleep(5 * time.Millisecond)
				err = frames.small(kindTotal, make([]byte, 8))
			}
		}()
		_, err := Receive(t.Context(), far, ReceiveOptions{To: io.Discard, Stall: 80 * time.Millisecond})
		if !errors.As(err, &stalled) {
			t.Errorf("receive: %v", err)
		}
	})
	t.Run("sink", func(t *testing.T) {
		near, far := tcpPair(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close(); _ = w.Close() }()
		done := make(chan error, 1)
		go func() {
			done <- Send(t.Context(), near, SendOptions{From: io.LimitReader(endless{}, 32<<20), Finish: well})
		}()
		_, err = Receive(t.Context(), far, ReceiveOptions{To: w, Stall: 80 * time.Millisecond})
		if !errors.As(err, &stalled) {
			t.Errorf("receive: %v", err)
		}
		_ = far.Close()
		_ = near.Close()
		_ = wait(t, done)
	})
	t.Run("cancelled", func(t *testing.T) {
		_, far := tcpPair(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(errStale) })
		if _, err := Receive(ctx, far, ReceiveOptions{To: io.Discard, Stall: time.Minute}); !errors.Is(err, errStale) {
			t.Errorf("receive: %v", err)
		}
	})
}

// Over a line, fenced, limited, counted and shown.
func TestSendAndReceiveOverALine(t *testing.T) {
	near, far := tcpPair(t)
	data := randomBytes(rand.New(rand.NewPCG(3, 4)), 2<<20)
	fence, err := NewFence(t.Context(), FenceOptions{Check: well, Ahead: errAhead, Limit: rate.NewLimiter(8<<20, 256<<10)})
	if err != nil {
		t.Fatal(err)
	}
	var counted atomic.Int64
	result := make(chan error, 1)
	began := time.Now()
	go func() {
		err := Send(t.Context(), near, SendOptions{From: bytes.NewReader(data), Finish: well, Pace: fence.Pace,
			Count: func(n int64) { counted.Add(n) }, Total: 2<<20 + 1, Stall: time.Minute})
		result <- errors.Join(err, near.(*net.TCPConn).CloseWrite())
	}()
	var got bytes.Buffer
	var done, total int64
	n, err := Receive(t.Context(), far, ReceiveOptions{To: &got, Stall: time.Minute,
		Progress: func(d, all int64) { done, total = d, all }})
	if err != nil || n != int64(len(data)) || sha256.Sum256(got.Bytes()) != sha256.Sum256(data) {
		t.Errorf("received %d of %d: %v", n, len(data), err)
	}
	if err := wait(t, result); err != nil {
		t.Error(err)
	}
	if done != n || total != n+1 || counted.Load() != n {
		t.Errorf("progress %d of %d, counted %d", done, total, counted.Load())
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("2 MiB less a burst at 8 MiB/s took %s", took)
	}
}

// Invariant 3: a token that is no longer in force ends the stream at the next
// write that is overdue for a look.
func TestInvariant3FenceEndsAStream(t *testing.T) {
	var stale atomic.Bool
	fence, err := NewFence(t.Context(), FenceOptions{Ahead: errAhead, every: time.Nanosecond, Check: func() error {
		if stale.Load() {
			return errStale
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sentBytes := 0
	err = Send(t.Context(), &out, SendOptions{From: endless{}, Finish: well, Pace: fence.Pace, Count: func(n int64) {
		if sentBytes += int(n); sentBytes > 1<<20 {
			stale.Store(true)
		}
	}})
	if !errors.Is(err, errStale) {
		t.Errorf("send: %v", err)
	}
	var donor *DonorError
	if _, _, err := take(out.Bytes()); !errors.As(err, &donor) {
		t.Errorf("receive: %v", err)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\tc\x00": "a b c", " \xff x ": "x", strings.Repeat("é", 600): strings.Repeat("é", 498) + "...",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := fmt.Sprint(&DonorError{Text: "no"}); got != "the donor says: no" {
		t.Error(got)
	}
}
