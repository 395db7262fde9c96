package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"resilver/watchdog"
)

const (
	// commitPause is between the commits of the client that times them.
	commitPause = 2 * time.Millisecond
	// commitsLength is how long it commits where nothing is copied: about as
	// long as a copy takes.
	commitsLength = 8 * time.Second
)

// commitsAlone times commits at the primary where nothing is copied.
func (s *site) commitsAlone() measure {
	return measure{"commits at the primary, no copy", func(ctx context.Context) error {
		longest, err := s.longestCommit(ctx, func(ctx context.Context) (from, to time.Time, err error) {
			from = time.Now()
			select {
			case <-ctx.Done():
				return from, from, context.Cause(ctx)
			case <-time.After(commitsLength):
			}
			return from, time.Now(), nil
		})
		if err == nil {
			s.note(commitAlone, longest)
		}
		return err
	}}
}

// commitsDuring times them while the primary itself gives the copy.
func (s *site) commitsDuring() measure {
	return measure{"commits at the primary, which gives the copy", func(ctx context.Context) error {
		longest, err := s.longestCommit(ctx, func(ctx context.Context) (from, to time.Time, err error) {
			r, _, err := s.rebuildFrom(ctx, s.primary)
			if err != nil {
				return from, to, err
			}
			if r.Donor != s.primary.Name {
				return from, to, fmt.Errorf("it copied from %s, not from the primary", r.Donor)
			}
			before := stepSeconds(r, watchdog.StepPreflight, watchdog.StepQuarantine)
			from = r.Started.Add(time.Duration(before * float64(time.Second)))
			to = from.Add(time.Duration(stepSeconds(r, watchdog.StepStage) * float64(time.Second)))
			return from, to, nil
		})
		if err == nil {
			s.note(commitDuring, longest)
		}
		return err
	}}
}

// timed is a commit that was acknowledged.
type timed struct {
	began time.Time
	took  time.Duration
}

// longestCommit commits row after row while f runs, and returns the longest
// commit, in milliseconds, of those that fall into the time that f names.
func (s *site) longestCommit(ctx context.Context, f func(context.Context) (from, to time.Time, err error)) (float64, error) {
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var commits []timed
	done := make(chan error, 1)
	go func() {
		var err error
		commits, err = s.commit(writing)
		done <- err
	}()
	from, to, err := f(ctx)
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return 0, err
	}
	longest, n := longestWithin(commits, from, to)
	if n == 0 {
		return 0, errors.New("no commit fell into the time that counts")
	}
	return float64(longest) / float64(time.Millisecond), nil
}

// longestWithin is the longest of the commits that were under way at some
// moment of that time, and how many there were.
func longestWithin(commits []timed, from, to time.Time) (longest time.Duration, n int) {
	for _, c := range commits {
		if c.began.After(to) || c.began.Add(c.took).Before(from) {
			continue
		}
		longest, n = max(longest, c.took), n+1
	}
	return longest, n
}

// commit writes until ctx ends; each row is a transaction of its own.
func (s *site) commit(ctx context.Context) (commits []timed, err error) {
	session, end := context.WithTimeout(context.WithoutCancel(ctx), healDeadline) // the last commit is waited for
	defer end()
	err = s.primary.Session(session, func(session context.Context, conn *sql.Conn) error {
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := conn.ExecContext(session, "INSERT INTO lab.commits (at) VALUES (?)", began.UTC().Format(time.RFC3339Nano)); err != nil {
				return fmt.Errorf("commit a row: %w", err)
			}
			commits = append(commits, timed{began, time.Since(began)})
			select {
			case <-ctx.Done():
			case <-time.After(commitPause):
			}
		}
		return nil
	})
	return commits, err
}
