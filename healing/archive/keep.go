package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"resilver/healing/binlog"
	"resilver/healing/datadir"
	"resilver/watchdog"
)

// Keep writes them as logs that the engine's tool replays, and the manifest
// anew: m with them added to what it had. It is proven by reading the files
// back: they hold exactly the set that was looked for, or it is an error.
func (f *Found) Keep(ctx context.Context, dir datadir.Archive, m Manifest) (Manifest, error) {
	self, sets := f.trail.Self, f.trail.Sets
	m.Files = append([]File{}, m.Files...)
	have := ""
	for _, part := range byFormat(f.list) {
		file, err := f.keep(ctx, dir, fmt.Sprintf("%02d-%s", len(m.Files)+1, filepath.Base(part[0].Events[0].File)), part)
		if err == nil {
			have, err = sets.GTIDUnion(ctx, have, file.GTIDs)
		}
		if err != nil {
			return m, err
		}
		m.Files, m.Transactions, m.Bytes = append(m.Files, file), m.Transactions+file.Transactions, m.Bytes+file.Bytes
	}
	err := equal(ctx, sets, f.set, have)
	if err != nil {
		return m, fmt.Errorf("the archive does not hold what only this node has: %w", err)
	}
	if m.GTIDs, err = sets.GTIDUnion(ctx, m.GTIDs, have); err != nil {
		return m, err
	}
	return m.Save(dir, self)
}

// Save writes the manifest anew, of that server.
func (m Manifest) Save(dir datadir.Archive, self watchdog.Observation) (Manifest, error) {
	m.Version, m.Time = 1, watchdog.StampOf(time.Now())
	m.Flavor, m.ServerVersion, m.ServerUUID, m.ServerID = self.Flavor, self.Version, self.ServerUUID, self.ServerID
	m.Files, m.Replay = append([]File{}, m.Files...), replayed(m)
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	return m, dir.Replace(ManifestName, append(text, '\n'))
}

// byFormat puts together what came from one file in one format: a format in the
// middle of a file would not end the transaction before it, for the tool.
func byFormat(list []binlog.Transaction) [][]binlog.Transaction {
	var out [][]binlog.Transaction
	for i, t := range list {
		if i == 0 || t.Format != list[i-1].Format {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

// keep writes one log of an archive and reads it back.
func (f *Found) keep(ctx context.Context, a datadir.Archive, name string, list []binlog.Transaction) (File, error) {
	out := File{Name: name}
	sum := sha256.New()
	err := a.Create(name, func(w *os.File) error {
		if err := binlog.Extract(io.MultiWriter(w, sum), list); err != nil {
			return err
		}
		info, err := w.Stat()
		out.Bytes = info.Size()
		return err
	})
	if err != nil {
		return out, err
	}
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	want, err := binlog.SetOf(f.trail.Self.Flavor, list)
	if err != nil {
		return out, err
	}
	out.GTIDs, out.Transactions, err = f.logs.Check(ctx, filepath.Join(a.Ref.Path, name))
	if err == nil && out.Transactions != len(list) {
		err = fmt.Errorf("it holds %d transactions, not %d", out.Transactions, len(list))
	}
	if err == nil {
		err = equal(ctx, f.trail.Sets, want, out.GTIDs)
	}
	if err != nil {
		return out, fmt.Errorf("read %s back from the archive: %w", name, err)
	}
	for _, tx := range list {
		for _, p := range tx.Events {
			if last := len(out.Sources) - 1; last >= 0 && out.Sources[last].File == p.File && out.Sources[last].To == p.At {
				out.Sources[last].To += p.Length
				continue
			}
			out.Sources = append(out.Sources, Stretch{p.File, p.At, p.At + p.Length})
		}
	}
	return out, nil
}

// equal says that two sets are the same.
func equal(ctx context.Context, sets Sets, want, have string) error {
	missing, err := sets.GTIDSubtract(ctx, want, have)
	if err != nil {
		return err
	}
	more, err := sets.GTIDSubtract(ctx, have, want)
	if err == nil && (missing != "" || more != "") {
		err = fmt.Errorf("missing %q, too many %q", missing, more)
	}
	return err
}
