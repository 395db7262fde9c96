package healing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"resilver/config/secret"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// TestRefusedReceiverIsNotRebuilt: a replica that lacks a row is divergent,
// but the copy would log in with the same password.
func TestRefusedReceiverIsNotRebuilt(t *testing.T) {
	for _, c := range []struct {
		flavor  string
		running watchdog.Thread
		errno   int
		message string
	}{
		{"mysql", watchdog.ThreadConnecting, 1045, "Access denied for user 'repl'@'db2' (using password: YES)"},
		{"mysql", watchdog.ThreadStopped, 3118, "Access denied for user 'repl'@'db2'. Account is locked."},
		{"mariadb", watchdog.ThreadConnecting, 1045, "Access denied for user 'repl'@'db2' (using password: YES)"},
		{"mariadb", watchdog.ThreadConnecting, 4151, "Access denied, this account is locked"},
	} {
		obs := watchdog.Observation{Reachable: true, Flavor: c.flavor, Sources: []watchdog.SourceStatus{{
			Receiver: watchdog.ThreadStatus{Running: c.running, Errno: c.errno, Message: c.message},
			Applier:  watchdog.ThreadStatus{Running: watchdog.ThreadStopped, Errno: 1032, Message: "Error_code: 1032; Can't find record"},
		}}}
		g := gathering{h: &Healer{}, ctx: t.Context(), f: watchdog.Facts{Self: obs}}
		g.account()
		d := watchdog.Decide(watchdog.Input{Facts: &g.f, Wish: watchdog.Wish{Manual: true, Drill: true}}, time.Now())
		seen := false
		for _, got := range d.Guards {
			if got.ID == "source-account" {
				seen = true
				if got.Verdict != watchdog.Fail || got.Overridable || !strings.Contains(got.Reason, c.message) || !strings.Contains(got.Reason, "mend the account") {
					t.Errorf("%s %d: %+v", c.flavor, c.errno, got)
				}
			}
		}
		if !seen || d.WouldAct {
			t.Errorf("%s %d: seen %t, would act %t", c.flavor, c.errno, seen, d.WouldAct)
		}
	}
}

// TestNothingToLogInWith: of a dead server, what is missing is named.
func TestNothingToLogInWith(t *testing.T) {
	source := &replica.SourceConfig{Host: "127.0.0.1", Port: 1, User: "repl"}
	for name, c := range map[string]struct {
		last Last
		o    Options
		want string
	}{
		"no source":   {Last{}, Options{Password: secret.New("x")}, "no single source"},
		"no password": {Last{Source: source}, Options{}, "set mysql.replication"},
	} {
		g := gathering{h: &Healer{o: c.o}, ctx: t.Context(), last: &c.last}
		g.account()
		if a := g.f.Account; a.Open() != "" || !strings.Contains(a.Text, c.want) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestWithPassword: the login that is tried is the one that attach uses.
func TestWithPassword(t *testing.T) {
	h := &Healer{o: Options{User: "other", Password: secret.New("configured")}}
	stored := replica.SourceConfig{User: "repl", Password: secret.New("stored")}
	if got := h.withPassword(stored); got.User != "repl" || got.Password != stored.Password {
		t.Errorf("stored: %+v", got)
	}
	if got := h.withPassword(replica.SourceConfig{User: "repl"}); got.User != "other" || got.Password != h.o.Password {
		t.Errorf("configured: %+v", got)
	}
}

// TestRefusedLoginIsNotRepeated: a source may lock an account for logins that
// fail, a host for those that break off, and count them all; so that every
// answer is remembered. A refusal ends with a success or with another password,
// not with silence.
func TestRefusedLoginIsNotRepeated(t *testing.T) {
	wrong := replica.SourceConfig{User: "repl", Password: secret.New("wrong")}
	refusal := fmt.Errorf("log in: %w: Access denied", replica.ErrRefused)
	silence := errors.New("no route")
	for name, c := range map[string]struct {
		answer  error
		refused bool
		want    int // at 0, 5, 15, 35 and 75 minutes, then each hour
	}{"refused": {refusal, true, 5 + 22}, "silence": {silence, false, 5 + 22}, "let in": {nil, false, 24 * 60}} {
		synctest.Test(t, func(t *testing.T) {
			var l logins
			asked := 0
			for begin := time.Now(); time.Since(begin) < 24*time.Hour; time.Sleep(3 * time.Second) {
				why, err := l.ask(t.Context(), wrong, false, func(context.Context, replica.SourceConfig) error { asked++; return c.answer })
				if why != "" != c.refused || c.refused && err != nil || !c.refused && !errors.Is(err, c.answer) {
					t.Fatalf("%s: %q, %v", name, why, err)
				}
				if next := "tried again after " + watchdog.StampOf(l.until).String(); why != "" && (!strings.Contains(why, next) || !l.until.After(time.Now())) {
					t.Fatalf("%q does not say %q", why, next)
				}
			}
			if asked != c.want {
				t.Errorf("%s: %d logins in a day, want %d", name, asked, c.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var l logins
		asked, again := 0, false
		ask := func(c replica.SourceConfig, answer error) (string, error) {
			return l.ask(t.Context(), c, again, func(context.Context, replica.SourceConfig) error { asked++; return answer })
		}
		again = true
		for n := range 3 {
			if why, err := ask(wrong, refusal); why == "" || err != nil || asked != n+1 {
				t.Errorf("a person asks: %d logins, %q, %v", asked, why, err)
			}
		}
		if why, err := ask(wrong, silence); why == "" || !errors.Is(err, silence) {
			t.Errorf("silence ends a refusal: %q, %v", why, err)
		}
		again = false
		right := wrong
		right.Password = secret.New("right")
		if why, err := ask(right, silence); why != "" || !errors.Is(err, silence) {
			t.Errorf("another password, not judged: %q, %v", why, err)
		}
		time.Sleep(3 * firstLogin)
		before := time.Now()
		if why, err := ask(right, refusal); why == "" || err != nil || l.until.Sub(before) != firstLogin {
			t.Errorf("refused after silence: %q, %v, again after %s", why, err, l.until.Sub(before))
		}
		again = true // mended at the source, and a person asks
		if why, err := ask(right, nil); why != "" || err != nil {
			t.Errorf("mended: %q, %v", why, err)
		}
		again = false
		if why, err := ask(right, refusal); why != "" || err != nil {
			t.Errorf("a success does not stand: %q, %v", why, err)
		}
		time.Sleep(loginStands)
		if why, _ := ask(right, refusal); why == "" {
			t.Error("a success stands for ever")
		}
	})
}

// TestEndedLoginTeachesNothing: a caller that ends is no answer of the
// source's, and what it says by then is one all the same.
func TestEndedLoginTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logins
		source := replica.SourceConfig{User: "repl", Password: secret.New("x")}
		refusal := fmt.Errorf("log in: %w: Access denied", replica.ErrRefused)
		asked := 0
		ask := func(ctx context.Context, answer error) (string, error) {
			return l.ask(ctx, source, false, func(context.Context, replica.SourceConfig) error { asked++; return answer })
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 {
			if why, err := ask(ended, ended.Err()); why != "" || err == nil {
				t.Errorf("ended: %q, %v", why, err)
			}
		}
		if why, err := ask(ended, refusal); why == "" || err != nil || asked != 3 {
			t.Errorf("refused, and ended: %d logins, %q, %v", asked, why, err)
		}
		time.Sleep(firstLogin)
		if why, err := ask(ended, ended.Err()); why == "" || err == nil {
			t.Errorf("the end of a caller ends a refusal: %q, %v", why, err)
		}
		if why, err := ask(t.Context(), nil); why != "" || err != nil || asked != 5 {
			t.Errorf("let in: %d logins, %q, %v", asked, why, err)
		}
	})
}

// TestDeadServerOfAnotherNetwork: a dead server's login is judged from here only
// where the server ran in this network; a file that does not say so was kept by
// an older version.
func TestDeadServerOfAnotherNetwork(t *testing.T) {
	refuses := func(context.Context, replica.SourceConfig) error { return replica.ErrRefused }
	source := replica.SourceConfig{Host: "192.0.2.1", Port: 3306, User: "repl", Password: secret.New("x")}
	for kept, want := range map[string]bool{
		`{"datadir": "/d", "our_network": true}`:  true,
		`{"datadir": "/d", "our_network": false}`: false,
		`{"datadir": "/d"}`:                       false,
		`no JSON`:                                 false,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(lastPath(dir), []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
		k := &Keeper{}
		k.last, k.err = LoadLast(dir)
		h := &Healer{o: Options{Known: k, Logger: slog.New(slog.DiscardHandler)}}
		if _, err := h.logins.ask(t.Context(), source, false, refuses); err != nil { // it stands from now on
			t.Fatal(err)
		}
		if why := h.refused(t.Context(), source, watchdog.Observation{}, true, false); (why != "") != want {
			t.Errorf("%s: judged %t, want %t: %q", kept, !want, want, why)
		}
	}
}

// TestNoSourceAnswers: what answers at the source's address, and is none, does
// not end the sidecar. (Not beside TryLogin's other tests: the driver leaves a
// goroutine behind when it panics.)
func TestNoSourceAnswers(t *testing.T) {
	for name, says := range map[string]string{
		"a greeting of one byte": "\x01\x00\x00\x00\x0a",
		"an error of one byte":   "\x01\x00\x00\x00\xff",
	} {
		at, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn, err := at.Accept(); err == nil {
				_, _ = io.WriteString(conn, says)
				_, _ = io.Copy(io.Discard, conn) // until it is closed there
				_ = conn.Close()
			}
		}()
		err = replica.TryLogin(t.Context(), replica.SourceConfig{Host: "127.0.0.1", Port: at.Addr().(*net.TCPAddr).Port, User: "repl", Password: secret.New("x")})
		if err == nil || errors.Is(err, replica.ErrRefused) || !strings.Contains(err.Error(), "no source") {
			t.Errorf("%s: %v", name, err)
		}
		<-done
		_ = at.Close()
	}
}

// TestSameNetwork: a login from another network than the server's own tells
// nothing of the server's.
func TestSameNetwork(t *testing.T) {
	if !sameNetwork(os.Getpid()) || sameNetwork(1<<30) {
		t.Error("this process, and none")
	}
	for _, flags := range []uintptr{0, syscall.CLONE_NEWNET} {
		cmd := exec.CommandContext(t.Context(), "sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if os.Getuid() != 0 && flags != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if got, want := sameNetwork(cmd.Process.Pid), flags == 0; got != want {
			t.Errorf("flags %#x: the same network: %t", flags, got)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
