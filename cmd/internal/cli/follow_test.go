package cli

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// script answers a follower, one entry for each look.
type script struct {
	looks []look
	n     int
}

type look struct {
	status  admin.Status
	err     error
	history []watchdog.Record
}

func (s *script) now() look { return s.looks[min(s.n, len(s.looks))-1] }

func (s *script) Status(context.Context) (admin.Status, error) {
	s.n++
	return s.now().status, s.now().err
}
func (s *script) History(context.Context) ([]watchdog.Record, error) { return s.now().history, nil }

var away = &admin.Unreachable{Socket: "/s", Err: fs.ErrNotExist}

func aRebuild() []look {
	running := healed()
	running.Outcome, running.Ended = "", watchdog.Stamp{}
	return []look{
		{status: status(watchdog.StepPreflight, 0)},
		{status: status(watchdog.StepStage, 0)},
		{status: status(watchdog.StepStage, 1<<20)},
		{err: away}, {err: away}, // the sidecar is restarted
		{status: status(watchdog.StepStage, 4<<20)},
		{status: status(watchdog.StepSwap, 5<<20)},
		{status: status("", 0), history: []watchdog.Record{running}},
		{status: status("", 0), history: []watchdog.Record{{ID: "r9", Outcome: watchdog.Failed}, healed()}},
	}
}

func TestFollowPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		f := follower{ask: &script{looks: aRebuild()}, out: &b, id: "r1"}
		record, err := f.run(t.Context())
		if err != nil || record.ID != "r1" || record.Outcome != watchdog.Healed {
			t.Fatalf("%+v, %v", record, err)
		}
		want := `preflight
stage      [............................]   0%  0 B of 5.0 MiB  1.0 MiB/s  ETA 2.0s
swap
healed: 5.0 MiB from db3 in 12s, away for 1.2s
`
		if b.String() != want {
			t.Errorf("got\n%s\nwant\n%s", b.String(), want)
		}
	})
}

func TestFollowPlainShowsProgressWithinAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks []look
		for i := range 13 {
			looks = append(looks, look{status: status(watchdog.StepStage, int64(i)<<18)})
		}
		looks = append(looks, look{history: []watchdog.Record{healed()}})
		var b strings.Builder
		f := follower{ask: &script{looks: looks}, out: &b, id: "r1"}
		if _, err := f.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "stage "); n != 2 { // at once, and after five seconds
			t.Errorf("%d lines:\n%s", n, b.String())
		}
	})
}

func TestFollowOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		f := follower{ask: &script{looks: aRebuild()}, out: &b, id: "r1", width: 60}
		if _, err := f.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "\r\x1b[Kpreflight" +
			"\r\x1b[Kpreflight  0.5s\n" +
			"\r\x1b[Kstage      [............................]   0%  0 B of 5.0 " +
			"\r\x1b[Kstage      [#####.......................]  20%  1.0 MiB of " +
			"\r\x1b[Kstage      [######################......]  80%  4.0 MiB of " +
			"\r\x1b[Kstage      2.5s\n" +
			"\r\x1b[Kswap" +
			"\r\x1b[Kswap       1.0s\n" +
			"healed: 5.0 MiB from db3 in 12s, away for 1.2s\n"
		if b.String() != want {
			t.Errorf("got\n%q\nwant\n%q", b.String(), want)
		}
	})
}

func TestFollowGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		look   look
		target error
		want   string
	}{
		"daemon gone":  {look{err: away}, fs.ErrNotExist, "goes on when it is started again"},
		"rebuild gone": {look{status: status("", 0)}, nil, "neither under way nor in the history"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				f := follower{ask: &script{looks: []look{test.look}}, out: &strings.Builder{}, id: "r1"}
				_, err := f.run(t.Context())
				if err == nil || !strings.Contains(err.Error(), test.want) || test.target != nil && !errors.Is(err, test.target) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took < followBears || took > followBears+2*followPace {
					t.Errorf("after %v", took)
				}
			})
		})
	}
}

func TestFollowStopsWithCtrlC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		f := follower{ask: &script{looks: []look{{status: status(watchdog.StepStage, 1)}}}, out: &strings.Builder{}, id: "r1"}
		if _, err := f.run(ctx); err == nil || !strings.Contains(err.Error(), "rebuild r1 goes on") {
			t.Errorf("got %v", err)
		}
	})
}

// The whole way: rebuild --follow over a socket, by the outcome.
func TestRebuildFollow(t *testing.T) {
	rolledBack := healed()
	rolledBack.Outcome, rolledBack.Error = watchdog.RolledBack, "start: mysqld died three times"
	for name, test := range map[string]struct {
		record watchdog.Record
		flags  []string
		code   int
		stdout string
		stderr string
	}{
		"healed":      {healed(), nil, 0, "stage      [#####", ""},
		"healed json": {healed(), []string{"-o", "json"}, 0, "[\n  {\n    \"id\": \"r1\"", ""},
		"rolled back": {rolledBack, nil, 1, "rolled-back: 5.0 MiB from db3", "resilver: rebuild r1 of db2 ended rolled-back: start: mysqld died three times; see `resilver history r1`\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{statuses: []admin.Status{status(watchdog.StepStage, 1<<20), status("", 0)}, history: []watchdog.Record{test.record}}
			stdout, stderr, code := run(t.Context(), append(test.flags, "rebuild", "--follow", "--socket", serve(t, d))...)
			if code != test.code || stderr != test.stderr || !strings.Contains(stdout, test.stdout) {
				t.Errorf("exit %d\nstdout:\n%s\nstderr:\n%s", code, stdout, stderr)
			}
		})
	}
}

func TestProgressText(t *testing.T) {
	for _, test := range []struct {
		p    watchdog.Progress
		want string
	}{
		{watchdog.Progress{Step: watchdog.StepRehearse, Bytes: 5, BytesTotal: 5}, "rehearse"},
		{watchdog.Progress{Step: watchdog.StepStage}, "stage"},
		{watchdog.Progress{Step: watchdog.StepStage, Bytes: 3 << 30}, "stage      3.0 GiB"},
		{watchdog.Progress{Step: watchdog.StepStage, Bytes: 2 << 30, BytesTotal: 1 << 30, Rate: 2048}, "stage      [############################] 100%  2.0 GiB of 1.0 GiB  2.0 KiB/s"},
		{watchdog.Progress{Step: watchdog.StepStage, Bytes: -1, BytesTotal: 100, ETASeconds: ptr(200.0)}, "stage      [............................]   0%  -1 B of 100 B  ETA 3m20s"},
	} {
		if got := progressText(test.p); got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

func TestSecondsText(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0.0s", 1.25: "1.2s", 48.4: "48s", 192: "3m12s", 7500: "2h05m", -3: "-3.0s"} {
		if got := secondsText(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}
