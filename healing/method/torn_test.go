package method_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/healing/method"
	"resilver/healing/transfer"
)

// chunksOf splits what mariadb-backup streams: "XBSTCK01", flags, type, the
// path with its length, and for a payload its length, offset and checksum.
func chunksOf(t *testing.T, raw []byte) [][]byte {
	t.Helper()
	var out [][]byte
	for rest := raw; len(rest) > 0; {
		if !bytes.HasPrefix(rest, []byte("XBSTCK01")) {
			t.Fatalf("chunk %d does not begin like one", len(out))
		}
		n := 14 + int(binary.LittleEndian.Uint32(rest[10:]))
		if rest[9] == 'P' {
			n += 20 + int(binary.LittleEndian.Uint64(rest[n:]))
		}
		out, rest = append(out, rest[:n]), rest[n:]
	}
	return out
}

// rawStream is the whole backup of a small server, as the tool writes it.
func rawStream(t *testing.T) []byte {
	t.Helper()
	donor := filled(newMaria(t, "log_bin=binlog").start().backupAccount())
	d := donate(t, donor.asLive("mariadb", donor.version()), nil)
	conn, err := d.open(t.Context(), method.BackupRequest{Tool: method.ToolMariabackup})
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := transfer.Receive(t.Context(), conn, transfer.ReceiveOptions{To: &raw, Stall: time.Minute}); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := d.served(); err != nil {
		t.Error(err)
	}
	_ = donor.db.Close()
	donor.kill()
	return raw.Bytes()
}

// framed is a stream as it goes over the line; parts[i] are the frames of
// chunk i, and the last part is the trailer.
type framed struct {
	greeting []byte
	parts    [][]byte
}

// frame sends chunks and keeps what each became.
func frame(t *testing.T, chunks [][]byte) framed {
	t.Helper()
	c := &chunkReader{chunks: chunks}
	var f framed
	write := writerFunc(func(b []byte) (int, error) {
		switch {
		case f.greeting == nil:
			f.greeting = bytes.Clone(b)
		case c.over:
			f.parts = append(f.parts, bytes.Clone(b))
		default:
			for len(f.parts) <= c.current {
				f.parts = append(f.parts, nil)
			}
			f.parts[c.current] = append(f.parts[c.current], b...)
		}
		return len(b), nil
	})
	if err := transfer.Send(t.Context(), write, transfer.SendOptions{From: c, Finish: func() error { return nil }}); err != nil {
		t.Fatal(err)
	}
	return f
}

func framedOf(f framed) [][]byte { return append([][]byte{f.greeting}, f.parts...) }

// file is a file as the tool streams it.
func file(path, content string) []byte {
	head := func(kind byte) []byte {
		b := append([]byte("XBSTCK01\x00"), kind)
		return append(binary.LittleEndian.AppendUint32(b, uint32(len(path))), path...)
	}
	data := []byte(content)
	b := binary.LittleEndian.AppendUint64(head('P'), uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, 0), crc32.ChecksumIEEE(data))
	return slices.Concat(b, data, head('E'))
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// chunkReader never gives bytes of two chunks at once.
type chunkReader struct {
	chunks  [][]byte
	current int
	at      int
	over    bool
}

func (c *chunkReader) Read(b []byte) (int, error) {
	if c.current < len(c.chunks) && c.at == len(c.chunks[c.current]) {
		c.current, c.at = c.current+1, 0
	}
	if c.current == len(c.chunks) {
		c.over = true
		return 0, io.EOF
	}
	n := copy(b, c.chunks[c.current][c.at:])
	c.at += n
	return n, nil
}

// over is a line on which these bytes come, and then its end.
func over(t *testing.T, parts ...[]byte) func(context.Context, method.BackupRequest) (net.Conn, error) {
	return func(context.Context, method.BackupRequest) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			for _, p := range parts {
				if _, err := near.Write(p); err != nil {
					break
				}
			}
			_ = near.Close()
		}()
		t.Cleanup(func() { _ = near.Close() })
		return far, nil
	}
}

// TestTrapR22TornStreamsOfTheRealTools: mbstream takes a stream that ends at a
// chunk, or lacks one, for a good one; here none is accepted (invariant 11).
func TestTrapR22TornStreamsOfTheRealTools(t *testing.T) {
	chunks := chunksOf(t, rawStream(t))
	n := len(chunks)
	// A piece of a table's data in the middle (t/bulk.ibd, or .new where the
	// table is younger than the backup's beginning).
	mid := -1 // its last piece: mbstream notices when one before it is missing
	for i, c := range chunks {
		if len(c) > 100<<10 && bytes.Contains(c[:60], []byte("t/bulk.")) {
			mid = i
		}
	}
	if n < 50 || mid < 0 || mid > n-4 {
		t.Fatalf("%d chunks, the table in %d", n, mid)
	}
	f := frame(t, chunks)
	trailer := f.parts[n]
	join := func(parts ...[][]byte) [][]byte { return append([][]byte{f.greeting}, slices.Concat(parts...)...) }
	flipped := slices.Clone(f.parts)
	flipped[mid] = bytes.Clone(flipped[mid])
	flipped[mid][len(flipped[mid])/2] ^= 1
	other := frame(t, chunks[:3])

	m := mariabackup(t)
	stage := func(parts [][]byte) error {
		job := jobIn(t, over(t, parts...))
		_, err := m.Stage(t.Context(), job, func(int64, int64) {})
		if left := strays(t, job.Area); len(left) != 0 {
			t.Errorf("processes are left: %v", left)
		}
		return err
	}
	if err := stage(join(f.parts)); err != nil {
		t.Fatalf("the whole stream: %v", err)
	}
	for name, parts := range map[string][][]byte{
		"nothing at all":                   {},
		"empty":                            {f.greeting},
		"trailer alone":                    join([][]byte{trailer}),
		"cut at the first chunk":           join(f.parts[:1]),
		"cut at a chunk":                   join(f.parts[:n/2]),
		"cut at a chunk, with trailer":     join(f.parts[:n/2], [][]byte{trailer}),
		"cut in a chunk":                   join(f.parts[:n/2], [][]byte{f.parts[n/2][:30]}),
		"all but the trailer":              join(f.parts[:n]),
		"all but the last byte":            join(f.parts[:n], [][]byte{trailer[:len(trailer)-1]}),
		"last chunk missing":               join(f.parts[:n-1], [][]byte{trailer}),
		"last three chunks missing":        join(f.parts[:n-3], [][]byte{trailer}),
		"last three chunks and no trailer": join(f.parts[:n-3]),
		"middle chunk missing":             join(f.parts[:mid], f.parts[mid+1:]),
		"middle chunk doubled":             join(f.parts[:mid+1], f.parts[mid:]),
		"chunks swapped":                   join(f.parts[:mid], [][]byte{f.parts[mid+1], f.parts[mid]}, f.parts[mid+2:]),
		"one bit flipped":                  join(flipped),
		"end of another backup":            join(f.parts[:n], other.parts[3:]),
		"an error's text":                  {[]byte("ERROR: no backup today\n")},
		"the tool's bytes alone":           chunks,
	} {
		if err := stage(parts); err == nil || !errors.Is(err, transfer.ErrTorn) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Names that lead out of the staging directory are not unpacked, and mbstream
	// says so with status 0.
	for _, path := range []string{"../out", "/tmp/out", "t/../../out"} {
		err := stage(framedOf(frame(t, append([][]byte{file(path, "hello")}, chunks...))))
		if err == nil || errors.Is(err, transfer.ErrTorn) {
			t.Errorf("a file %s: %v", path, err)
		}
	}

	// What the tools say of the same: this is why the proof is needed.
	bin, _ := mariaBin(t)
	for name, raw := range map[string][][]byte{
		"empty": nil, "cut at a chunk": chunks[:n/2], "last three chunks missing": chunks[:n-3],
		"middle chunk missing": slices.Concat(chunks[:mid], chunks[mid+1:]),
	} {
		cmd := exec.Command(filepath.Join(bin, "mbstream"), "-x", "-C", t.TempDir())
		cmd.Stdin = bytes.NewReader(bytes.Join(raw, nil))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("mbstream refuses %s after all: %v %s", name, err, out)
		}
	}
}

// Trap X9: a tool that fails, in every way that was seen, leads to no copy, and the
// recipient hears why; the stream itself may be a whole one.
func TestTrapX9ToolsThatFail(t *testing.T) {
	raw := rawStream(t)
	stream := filepath.Join(place(t), "stream")
	if err := os.WriteFile(stream, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	const ok = "echo '[00] 2026-11-23 09:15:46 completed OK!' >&2"
	for name, c := range map[string]struct{ script, says string }{
		"prints success and fails":      {"cat STREAM; " + ok + "; exit 1", "exit status 1"},
		"fails after its last byte":     {"cat STREAM; echo 'Error: cannot release the lock' >&2; exit 3", "cannot release the lock"},
		"ends well and says nothing":    {"cat STREAM", "without"},
		"says success, then complains":  {"cat STREAM; " + ok + "; echo 'FATAL ERROR: not so' >&2", "not so"},
		"is killed after its last byte": {"cat STREAM; " + ok + "; kill -9 $$", "killed"},
		"killed in the middle":          {"head -c 100000 STREAM; kill -9 $$", "killed"},
		"wrong password":                {"echo 'Failed to connect to MariaDB server: Access denied for user x' >&2; exit 1", "Access denied"},
		"nothing, and success":          {ok, "empty"},
		"a text, and success":           {"echo 'usage: mariadb-backup'; " + ok, "exit status 1"}, // mbstream's
	} {
		t.Run(name, func(t *testing.T) {
			dir := place(t)
			script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'based on MariaDB server 10.11.18' >&2; exit 0; fi\n" +
				strings.ReplaceAll(c.script, "STREAM", stream) + "\n"
			if err := os.WriteFile(filepath.Join(dir, "mariadb-backup"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			uid, gid := owner(t)
			d := donate(t, method.LiveServer{Flavor: "mariadb", VersionNumber: 101118, UID: uid, GID: gid},
				func(o *method.BackupOptions) { o.Dirs = append([]string{dir}, o.Dirs...) })
			job := jobIn(t, d.open)
			_, err := mariabackup(t).Stage(t.Context(), job, func(int64, int64) {})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the recipient: %v", err)
			}
			served := d.served()
			t.Logf("the donor: %v", served)
			if entries, _ := os.ReadDir(d.state); len(entries) != 0 {
				t.Errorf("left in the state directory: %v", entries)
			}
		})
	}
}

// A whole stream of a backup whose own words are not those of one: refused with
// what and why, and nothing beside the staging directory is touched.
func TestStageRefusesWhatIsNoBackup(t *testing.T) {
	const binlog, slave, marks = "xtrabackup_binlog_info", "xtrabackup_slave_info", "xtrabackup_checkpoints"
	const full = "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 44404\nlast_lsn = 46956\n"
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	maria, xtra := mariabackup(t), standInMethod(t)
	for name, c := range map[string]struct {
		m     *method.Physical
		files map[string]string
		says  string // empty: it is taken
	}{
		"a backup":                   {maria, map[string]string{marks: full, binlog: "b.1\t4\t0-1-5\n"}, ""},
		"no marks":                   {maria, map[string]string{binlog: "b.1\t4\t0-1-5\n"}, marks},
		"an incremental one":         {maria, map[string]string{marks: strings.Replace(full, "full-backuped", "incremental", 1), binlog: "b.1\t4\t0-1-5\n"}, "incremental"},
		"a prepared one":             {maria, map[string]string{marks: strings.Replace(full, "full-backuped", "log-applied", 1), binlog: "b.1\t4\t0-1-5\n"}, "log-applied"},
		"no position":                {maria, map[string]string{marks: full}, "neither"},
		"no gtid":                    {maria, map[string]string{marks: full, binlog: "b.1\t4\n"}, "names no GTID"},
		"several lines":              {maria, map[string]string{marks: full, binlog: "b.1\t4\t0-1-5\nb.2\t9\t0-1-7\n"}, "no GTID position"},
		"mysql's form":               {maria, map[string]string{marks: full, binlog: "b.1\t4\t" + uuid + ":1-5\n"}, "no GTID position"},
		"an error in its place":      {maria, map[string]string{marks: full, binlog: "ERROR 1227 (42000): Access denied\n"}, "not understood"},
		"a bad one of a replica":     {maria, map[string]string{marks: full, slave: "Failed to read\n", binlog: "b.1\t4\t0-1-5\n"}, "does not replicate by GTID"},
		"mysql: a backup":            {xtra, map[string]string{marks: full, binlog: "b.1\t4\t" + uuid + ":1-5,\n" + uuid[:35] + "3:1-9\n"}, ""},
		"mysql: no gtid":             {xtra, map[string]string{marks: full, binlog: "b.1\t4\n"}, "names no GTID"},
		"mysql: mariadb's form":      {xtra, map[string]string{marks: full, binlog: "b.1\t4\t0-1-5\n"}, "no GTID set"},
		"mysql: two logs, two lines": {xtra, map[string]string{marks: full, binlog: "b.1\t4\t" + uuid + ":1-5\nb.2\t4\t" + uuid + ":6-7\n"}, "no GTID set"},
	} {
		t.Run(name, func(t *testing.T) {
			var chunks [][]byte
			for path, content := range c.files {
				chunks = append(chunks, file(path, content))
			}
			job := jobIn(t, over(t, framedOf(frame(t, chunks))...))
			live := mkdir(t, filepath.Join(filepath.Dir(job.Area), "data"))
			if err := os.WriteFile(live+"/ibdata1", []byte("live"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := c.m.Stage(t.Context(), job, func(int64, int64) {})
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("want %q: %v", c.says, err)
			}
			entries, _ := os.ReadDir(live)
			if text, _ := os.ReadFile(live + "/ibdata1"); string(text) != "live" || len(entries) != 1 {
				t.Errorf("the live data: %q, %v", text, entries)
			}
		})
	}
}

// standInMethod is the method xtrabackup with the stand-in of the tool.
func standInMethod(t *testing.T) *method.Physical {
	t.Helper()
	m, err := method.NewXtrabackup(method.PhysicalOptions{Dirs: []string{xtrabackupDir(t)}, StallTimeout: time.Minute, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
