package method

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"resilver/healing/private"
)

// Prepare applies the redo log that came with the copy, as the datadir's
// owner. The tool says OK to copies that it should not (R22): that the stream
// was whole was proved before, and the rehearsal boots what comes of it.
func (p *Physical) Prepare(ctx context.Context, job Job) error {
	if err := p.prepare(ctx, job); err != nil {
		return fmt.Errorf("prepare the copy: %w", err)
	}
	return nil
}

func (p *Physical) prepare(ctx context.Context, job Job) error {
	found, err := p.kind.find(p.o.Dirs)
	if err != nil {
		return err
	}
	dir, err := private.OpenArea(job.Staging)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	before, err := readCheckpoints(dir)
	if err != nil {
		return err
	}
	argv := []string{found.backup, "--no-defaults", "--prepare", "--target-dir=" + job.Staging}
	if p.o.UseMemory > 0 {
		argv = append(argv, "--use-memory="+strconv.FormatInt(p.o.UseMemory, 10))
	}
	c, err := startChild(childOptions{argv: append(argv, p.o.Args...), uid: job.Program.UID, gid: job.Program.GID})
	if err != nil {
		return err
	}
	if err := c.succeeded(ctx); err != nil {
		return err
	}
	after, err := readCheckpoints(dir)
	switch {
	case err != nil:
		return err
	case after.kind != typeApplied && after.kind != typePrepared:
		return fmt.Errorf("%s said OK, but the copy is still %s", p.kind.tool, after.kind)
	case after.to != before.to:
		return fmt.Errorf("the copy went to %d before, and goes to %d now", before.to, after.to)
	}
	if info, err := dir.Lstat("ibdata1"); err != nil || !info.Mode().IsRegular() {
		return errors.Join(errors.New("there is no ibdata1 in the copy"), err)
	}
	return nil
}
