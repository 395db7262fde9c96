package method

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"resilver/healing/private"
)

const recordName = "backup.json"

// record is what must be known of a backup under way if this process dies.
type record struct {
	Tool    Tool          `json:"tool"`
	Process private.Birth `json:"process"`
	// Restore says that the tool may stop the server's applier, which ran.
	Restore bool `json:"restore"`
}

func (b *Backups) recordPath() string { return filepath.Join(b.o.StateDir, recordName) }

// note writes the record down before anything else happens.
func (b *Backups) note(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record the backup: %w", err)
	}
	if err := renameio.WriteFile(b.recordPath(), text, 0o600); err != nil {
		return fmt.Errorf("record the backup: %w", err)
	}
	return nil
}

// begin settles what an earlier backup may have left, and records the next.
func (b *Backups) begin(ctx context.Context, r record) error {
	if err := b.restore(ctx); err != nil {
		return err
	}
	return b.note(r)
}

// settle gives the server back what the tool, which is gone, may have changed.
func (b *Backups) settle(ctx context.Context, r record) error {
	if r.Restore {
		ctx, cancel := context.WithTimeoutCause(ctx, restoreTimeout, fmt.Errorf("not done within %s", restoreTimeout))
		defer cancel()
		if err := b.o.Restore(ctx); err != nil {
			return fmt.Errorf("restore the applier after a backup: %w", err)
		}
		b.o.Logger.Info("applier looked after, a backup may have stopped it", "tool", r.Tool)
	}
	if err := os.Remove(b.recordPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the backup: %w", err)
	}
	return nil
}

// RestoreAfterCrash ends a tool that outlived the process that ran it, and
// gives the server back what it may have changed. It is called at start, and
// again while it fails; without a record it does nothing. A record that cannot
// be read counts as one of a tool that changed something.
func (b *Backups) RestoreAfterCrash(ctx context.Context) error {
	select {
	case b.slot <- struct{}{}:
	default:
		return nil // a backup is under way, and has looked
	}
	defer func() { <-b.slot }()
	return b.restore(ctx)
}

func (b *Backups) restore(ctx context.Context) error {
	text, err := os.ReadFile(b.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an earlier backup: %w", err)
	}
	r := record{}
	if err := json.Unmarshal(text, &r); err != nil {
		b.o.Logger.Warn("record of an earlier backup cannot be read", "error", err)
		r = record{Restore: true}
	}
	killed, err := r.Process.Kill()
	if err != nil {
		return fmt.Errorf("end an earlier backup: %w", err)
	}
	b.o.Logger.Warn("an earlier backup was cut off", "tool", r.Tool, "killed", killed, "restore", r.Restore)
	return b.settle(ctx, r)
}
