package healing

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// What verify.checksum says.
const (
	ChecksumOff    = "off"
	ChecksumSample = "sample" // the table of the fault, and of the others some chunks
	ChecksumFull   = "full"
)

// A difference is believed once it was seen so often, with pauses in between
// that grow by so much: on MySQL a snapshot may be a transaction ahead of its
// position.
const (
	differsAt  = 5
	againPause = 500 * time.Millisecond
)

// compares says that the copy is held against the primary.
func (r *rebuild) compares() bool {
	return r.h.o.Checksum == ChecksumSample || r.h.o.Checksum == ChecksumFull
}

// comparable finds out before anything is copied whether a copy could be
// compared.
func (r *rebuild) comparable(ctx context.Context, source replica.SourceConfig) error {
	if !r.compares() {
		return nil
	}
	var err error
	switch {
	case len(source.Filters) > 0 || r.facts.Self.Source() != nil && r.facts.Self.Source().Filters != "":
		err = errors.New("a replica with replication filters does not hold what the primary does: set verify.checksum to off")
	case r.fitness.Flavor == "mariadb" && len(r.j.Scattered) > 0:
		err = errors.New("a copy with tablespaces at paths of their own must not replicate before it is in its place: set verify.checksum to off")
	case r.password.IsZero():
		err = errors.New("the source's password is not known: name the account in mysql.replication")
	default:
		c := comparison{r: r, patience: guardPatience}
		_, err = c.ask(ctx, watchdog.ChecksumOrder{Tables: true})
	}
	if err != nil {
		return fmt.Errorf("%w: verify.checksum: %w", errCancelled, err)
	}
	return nil
}

// as gives the copy an identity of its own for as long as it is rehearsed: it
// replicates while the live server may still be connected to the same source,
// and a source has each of them once. The function returned takes it back.
func (r *rebuild) as() (id uint32, back func() error, err error) {
	for id == 0 || id == r.facts.Self.ServerID {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, nil, err
		}
		id = binary.BigEndian.Uint32(b[:]) | 1<<31 // away from those that people give
	}
	uuid, err := newUUID()
	if err != nil {
		return 0, nil, err
	}
	var was []byte
	if r.fitness.Flavor == "mariadb" { // which has none
		return id, func() error { return nil }, nil
	}
	err = datadir.EditFile(r.j.Staged, autoCnf, func(b []byte) []byte {
		was = b
		return autoText(uuid)
	})
	if err == nil && was == nil {
		err = errors.New("the copy has no auto.cnf to write a server_uuid to")
	}
	back = func() error {
		return datadir.EditFile(r.j.Staged, autoCnf, func([]byte) []byte { return was })
	}
	return id, back, err
}

// comparison holds a rehearsed copy, which follows the primary from position to
// position, against the primary's tables.
type comparison struct {
	r        *rebuild
	db       *replica.Server // the copy
	channel  string
	primary  string
	patience time.Duration // without an answer, or without progress
	small    int           // how small the chunks are that the primary reads in time: an index of fewer
	lag      map[string]float64
	seen     map[watchdog.TableName]bool // compared so far
	out      watchdog.Compared
}

// compare has the copy follow the primary, and fails where they differ.
func (r *rebuild) compare(ctx context.Context, db *replica.Server) error {
	source, err := r.presentSource(ctx)
	if err != nil {
		return err
	}
	primary, err := r.primaryInTime(ctx)
	if err != nil {
		return err
	}
	source.Delay, source.AutoFailover = 0, false
	if err := db.PrepareToFollow(ctx, source); err != nil {
		return err
	}
	c := &comparison{
		r: r, db: db, channel: source.Channel, primary: primary.Report.Node, patience: r.h.o.VerifyStall,
		lag: r.lags(), seen: map[watchdog.TableName]bool{},
		out: watchdog.Compared{Mode: r.h.o.Checksum, With: primary.Report.Node},
	}
	r.log.Info("comparison begins", "mode", c.out.Mode, "with", c.primary)
	began := time.Now()
	err = c.run(ctx)
	c.out.Tables = len(c.seen)
	if note := r.note(func(j *Journal) { j.Record.Compared = &c.out }); err == nil {
		err = note
	}
	if err != nil {
		return err
	}
	r.log.Info("copy compared", "tables", c.out.Tables, "chunks", c.out.Chunks, "rows", c.out.Rows, "left_out", c.out.Omitted,
		"seconds", time.Since(began).Seconds(), "position", c.out.Position)
	return nil
}

func (c *comparison) run(ctx context.Context) error {
	all, err := c.ask(ctx, watchdog.ChecksumOrder{Tables: true})
	if err != nil {
		return fmt.Errorf("%w: verify.checksum: %w", errCancelled, err)
	}
	for _, o := range all.LeftOut {
		c.out.Omit(o)
	}
	if c.r.h.o.Checksum == ChecksumSample {
		return c.sample(ctx, all.Tables)
	}
	return c.full(ctx, all.Tables)
}

// full goes through all tables, and then through those made meanwhile.
func (c *comparison) full(ctx context.Context, tables []watchdog.TableSize) error {
	const times = 3
	done := map[watchdog.TableName]bool{}
	for range times {
		var walks []watchdog.Walk
		for _, t := range tables {
			if !done[t.TableName] {
				walks = append(walks, watchdog.Walk{TableName: t.TableName})
				done[t.TableName] = true
			}
		}
		if len(walks) == 0 {
			return nil
		}
		if err := c.through(ctx, walks, time.Time{}); err != nil {
			return err
		}
		all, err := c.ask(ctx, watchdog.ChecksumOrder{Tables: true})
		if err != nil {
			return fmt.Errorf("%w: verify.checksum: %w", errCancelled, err)
		}
		tables = all.Tables
	}
	return nil
}

// maxWalks bounds one question.
const maxWalks = 200

// through goes along all walks, or until a time.
func (c *comparison) through(ctx context.Context, walks []watchdog.Walk, until time.Time) error {
	at := time.Now()
	for len(walks) > 0 && (until.IsZero() || time.Now().Before(until)) {
		if err := c.throttle(ctx); err != nil {
			return err
		}
		batch, differ, err := c.batch(ctx, walks[:min(len(walks), maxWalks)])
		if passing(err) && time.Since(at) < c.patience {
			c.r.log.Warn("batch not compared", "error", err)
			continue
		}
		if err == nil && len(differ) > 0 {
			err = c.again(ctx, differ)
		}
		if err != nil {
			return err
		}
		if batch.Ended > 0 || len(batch.Chunks) > 0 {
			at = time.Now()
		} else if time.Since(at) > c.patience {
			return fmt.Errorf("%w: verify.checksum: nothing compared within %s", errCancelled, c.patience)
		}
		walks = c.count(walks, batch)
	}
	return nil
}

// count adds a batch up, and returns what of the walks is left.
func (c *comparison) count(walks []watchdog.Walk, batch watchdog.Checksums) []watchdog.Walk {
	for _, o := range batch.LeftOut {
		c.out.Omit(o)
	}
	left := walks[batch.Ended:]
	for _, chunk := range batch.Chunks {
		c.seen[chunk.TableName] = true
		c.out.Chunks++
		c.out.Rows += max(0, chunk.Rows)
		if len(left) > 0 && !left[0].Random && left[0].TableName == chunk.TableName {
			left[0].After = chunk.Upto
		}
	}
	c.out.Position = shortSet(batch.Position)
	c.grow(batch)
	return left
}

// difference is a chunk that is not the same.
type difference struct {
	there, here watchdog.Chunk
	position    string
}

// batch asks the primary for chunks as of one position, has the copy follow to
// it and reads the same there. The primary reads for at most half of the time.
func (c *comparison) batch(ctx context.Context, walks []watchdog.Walk) (watchdog.Checksums, []difference, error) {
	began := time.Now()
	batch, err := c.ask(ctx, watchdog.ChecksumOrder{Walks: walks})
	if err != nil {
		return batch, nil, fmt.Errorf("%w: verify.checksum: %w", errCancelled, err)
	}
	if batch.Ended > len(walks) {
		return batch, nil, fmt.Errorf("%s answers of %d walks, asked for %d", c.primary, batch.Ended, len(walks))
	}
	rest := time.NewTimer(time.Since(began))
	defer rest.Stop()
	var own []watchdog.Chunk
	if err = c.db.FollowTo(ctx, c.channel, batch.Position, c.patience); err == nil {
		own, err = c.db.Sums(ctx, batch.Chunks)
	}
	if silent(err) {
		err = fmt.Errorf("%w: verify.checksum: %w", errCancelled, err)
	}
	if err != nil {
		return batch, nil, err
	}
	var differ []difference
	for i, there := range batch.Chunks {
		if !there.Same(own[i]) {
			differ = append(differ, difference{there, own[i], batch.Position})
		}
	}
	select {
	case <-ctx.Done():
		return batch, nil, context.Cause(ctx)
	case <-rest.C:
	}
	return batch, differ, nil
}

// again asks for chunks that differ again and again, and fails with the
// first that goes on differing.
func (c *comparison) again(ctx context.Context, differ []difference) error {
	for try := 1; try < differsAt; try++ {
		if err := wait(ctx, time.Duration(try)*againPause); err != nil {
			return err
		}
		var walks []watchdog.Walk
		for _, d := range differ {
			walks = append(walks, watchdog.Walk{TableName: d.there.TableName, After: d.there.After, Upto: d.there.Upto, Single: true})
		}
		differ = nil
		for at := time.Now(); len(walks) > 0; {
			batch, more, err := c.batch(ctx, walks[:min(len(walks), maxWalks)])
			if err != nil && !passing(err) || time.Since(at) > c.patience {
				return errors.Join(err, fmt.Errorf("chunks that differ could not be read again: %s", walks[0].TableName))
			}
			if err == nil {
				walks, differ = walks[batch.Ended:], append(differ, more...)
			}
		}
		if len(differ) == 0 {
			return nil
		}
		c.r.log.Warn("chunks differ", "chunks", len(differ), "first", differ[0].there.TableName.String(), "position", differ[0].position)
	}
	return c.r.differs(c.primary, differ)
}
