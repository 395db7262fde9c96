package healing

import (
	"context"
	"errors"
	"fmt"
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
// fail, so that a refusal is remembered; it ends with a success or with
// another password, not with silence.
func TestRefusedLoginIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logins
		wrong := replica.SourceConfig{User: "repl", Password: secret.New("wrong")}
		refusal := fmt.Errorf("log in: %w: Access denied", replica.ErrRefused)
		asked, again := 0, false
		ask := func(c replica.SourceConfig, answer error) (string, error) {
			return l.ask(t.Context(), c, again, func(context.Context, replica.SourceConfig) error { asked++; return answer })
		}
		for begin := time.Now(); time.Since(begin) < time.Hour; time.Sleep(3 * time.Second) {
			if why, err := ask(wrong, refusal); !strings.Contains(why, "Access denied") || err != nil {
				t.Fatalf("%q, %v", why, err)
			}
		}
		if asked > 11 { // after 30 s, 1, 2, 4, 8 and then each 10 minutes
			t.Errorf("%d logins in an hour", asked)
		}
		asked, again = 0, true
		if why, err := ask(wrong, refusal); why == "" || err != nil || asked != 1 {
			t.Errorf("a person asks: %d logins, %q, %v", asked, why, err)
		}
		again = false
		time.Sleep(lastLogin)
		silence := errors.New("no route")
		if why, err := ask(wrong, silence); why == "" || !errors.Is(err, silence) {
			t.Errorf("silence ends a refusal: %q, %v", why, err)
		}
		right := wrong
		right.Password = secret.New("right")
		if why, err := ask(right, silence); why != "" || !errors.Is(err, silence) {
			t.Errorf("another password, not judged: %q, %v", why, err)
		}
		if why, err := ask(right, nil); why != "" || err != nil {
			t.Errorf("another password: %q, %v", why, err)
		}
		before := asked
		if why, _ := ask(right, refusal); why == "" || asked != before+1 {
			t.Errorf("a success is not asked again: %q", why)
		}
	})
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
