package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"resilver/cmd/internal/lab"
)

// rawCopies are the copies that a user makes by hand, from the same donor, to
// the same disk, with nothing else around them.
func (s *site) rawCopies() []measure {
	if s.Engine == lab.MariaDB {
		return []measure{{"mariadb-backup | mbstream", s.rawPipe}}
	}
	return []measure{
		s.rawClone(copyPlain, copyPlainAlone, "CLONE over plain TCP", "NO SSL"),
		s.rawClone(copyTLS, copyTLSAlone, "CLONE with its own TLS", "SSL"),
	}
}

func (s *site) rawPipe(ctx context.Context) (err error) {
	dir, remove := s.fresh("raw")
	defer func() { err = errors.Join(err, remove()) }()
	began := time.Now()
	if err := s.pipe(ctx, dir); err != nil {
		return err
	}
	s.note(copyPipe, time.Since(began).Seconds())
	return nil
}

// rawClone clones into the scratch server that resilver would boot too, from
// the donor's own port.
func (s *site) rawClone(figure, alone, name, tls string) measure {
	return measure{name, func(ctx context.Context) (err error) {
		dir, remove := s.fresh("raw")
		defer func() { err = errors.Join(err, remove()) }()
		began := time.Now()
		scratch, db, err := s.scratch(ctx)
		if err != nil {
			return err
		}
		booted := time.Now()
		err = s.clone(ctx, func(ctx context.Context, statement string) error {
			_, err := db.ExecContext(ctx, statement)
			return err
		}, dir, tls)
		cloned := time.Now()
		if err := errors.Join(err, db.Close(), scratch.Kill()); err != nil {
			return err
		}
		s.note(figure, time.Since(began).Seconds())
		s.note(alone, cloned.Sub(booted).Seconds())
		return nil
	}}
}

// clone has a server fetch the donor's data into a new directory.
func (s *site) clone(ctx context.Context, run func(ctx context.Context, statement string) error, dir, tls string) error {
	ctx, cancel := context.WithTimeout(ctx, copyDeadline)
	defer cancel()
	d := s.donor
	for _, statement := range []string{
		fmt.Sprintf("SET GLOBAL clone_valid_donor_list='%s:%d'", d.Address, d.Port),
		fmt.Sprintf("CLONE INSTANCE FROM '%s'@'%s':%d IDENTIFIED BY '%s' DATA DIRECTORY='%s' REQUIRE %s",
			giver, d.Address, d.Port, s.password, dir, tls),
	} {
		if err := run(ctx, statement); err != nil {
			return fmt.Errorf("clone by hand: %w", err)
		}
	}
	return nil
}

// pipe is what a shell runs, as mysqld's user, with the interval that resilver
// gives the tool too: with its default a backup takes most of a second longer.
func (s *site) pipe(ctx context.Context, dir string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, copyDeadline)
	defer cancel()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make the copy's directory: %w", err)
	}
	if err := s.c.Own(dir); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	d := s.donor
	give := s.c.AsServer(ctx, s.c.Tool("mariadb-backup"), "--defaults-file="+d.OptionFile(), "--backup", "--stream=mbstream",
		"--user="+s.c.ServerUser(), "--socket="+d.Socket, "--log-copy-interval=50")
	take := s.c.AsServer(ctx, s.c.Tool("mbstream"), "-x", "-C", dir)
	give.Stdout, take.Stdin = w, r
	give.Dir, take.Dir = "/", "/"
	var said tail
	give.Stderr, take.Stderr = &said, &said
	if err := errors.Join(give.Start(), take.Start(), w.Close(), r.Close()); err != nil {
		return errors.Join(fmt.Errorf("start the pipe: %w", err), give.Wait(), take.Wait())
	}
	if err := errors.Join(give.Wait(), take.Wait()); err != nil {
		return fmt.Errorf("mariadb-backup | mbstream: %w: %s", err, said.text)
	}
	return nil
}

// tail keeps the end of what two programs say; neither waits for the other.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 800
	t.text = append(t.text, p...)
	if n := len(t.text) - most; n > 0 {
		t.text = t.text[n:]
	}
	return len(p), nil
}
