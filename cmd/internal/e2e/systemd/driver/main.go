// Command driver lets a test use healing/service inside a machine of its own:
// it does one thing to a unit and prints what came of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"time"

	"resilver/healing"
	"resilver/healing/datadir"
	"resilver/healing/service"
)

// Result is what came of it.
type Result struct {
	Status  service.Status
	Person  string
	Error   string
	Refused bool // ErrRefused
	Other   bool // ErrOtherProcess
	Seconds float64
}

func main() {
	var unit, state string
	var id service.Identify
	flag.StringVar(&unit, "unit", "mysql.service", "")
	flag.StringVar(&state, "state", "/var/lib/resilver", "")
	flag.StringVar(&id.Datadir, "datadir", "/var/lib/mysql", "")
	flag.StringVar(&id.Socket, "socket", "/run/mysqld/mysqld.sock", "")
	flag.StringVar(&id.PIDFile, "pid-file", "/run/mysqld/mysqld.pid", "")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := service.NewSystemd(service.SystemdOptions{Unit: unit, HoldFile: service.HoldPath(state), Logger: logger})
	if err != nil {
		logger.Error("driver", "error", err)
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var r Result
	begun := time.Now()
	for _, word := range flag.Args() {
		if err = do(ctx, s, id, state, word, &r); err != nil {
			break
		}
	}
	r.Seconds = time.Since(begun).Seconds()
	if err != nil {
		r.Error, r.Refused, r.Other = err.Error(), errors.Is(err, service.ErrRefused), errors.Is(err, service.ErrOtherProcess)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(2)
	}
}

func do(ctx context.Context, s *service.Systemd, id service.Identify, state, word string, r *Result) (err error) {
	switch word {
	case "check":
		return s.Check(ctx)
	case "status":
		r.Status, err = s.Status(ctx)
		return err
	case "person":
		_, r.Person, err = s.Person(ctx)
		return err
	case "hold":
		return s.Hold(ctx)
	case "start":
		return s.Start(ctx)
	case "kill", "shutdown":
		p, err := find(ctx, s, id)
		if err != nil {
			return err
		}
		defer p.Close()
		return s.End(ctx, p, service.How(word))
	case "prove": // guard staging-place: the exchange works from here
		place, err := datadir.PlaceFor(id.Datadir, "")
		if err == nil {
			err = place.ProveExchange()
		}
		return err
	case "lock": // as a running sidecar
		_, err := healing.LockState(state, 0)
		if err == nil {
			time.Sleep(time.Hour)
		}
		return err
	}
	return errors.New("unknown word " + word)
}

// find waits for what identifies a server that has just been started.
func find(ctx context.Context, s *service.Systemd, id service.Identify) (*service.Process, error) {
	for {
		p, err := service.FindProcess(ctx, id)
		if err == nil {
			return p, nil
		}
		st, asked := s.Status(ctx)
		if asked == nil && st.PID != 0 {
			if p, booting := service.FindBooting(st.PID, id.Datadir, id.Datadir); booting == nil {
				return p, nil
			}
		}
		if asked != nil || !st.Running || ctx.Err() != nil {
			return nil, errors.Join(err, asked)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
