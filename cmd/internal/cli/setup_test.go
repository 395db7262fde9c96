package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/healing/datadir"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const loopback = "cluster: {name: a, join: ['127.0.0.1:7373'], bind: 127.0.0.1}\npolicy: {keep_serving: 1}\n"

func TestCheckConfig(t *testing.T) {
	stdout, stderr, code := run(t.Context(), "check-config", "../../../deploy/resilver.example.yaml")
	if code != 0 || !strings.HasSuffix(stdout, "resilver.example.yaml: ok\n") || !strings.Contains(stderr, "cluster.gossip_key_file") || !strings.Contains(stderr, "(warning)\n") {
		t.Errorf("example: exit %d\n%s%s", code, stdout, stderr)
	}
	bad := write(t, "lease: {ttl: 5, ttl: 6}\ncluster:\n  nam: a\n")
	want := []string{":1:14: lease.ttl: ", ":1:17: lease.ttl: ", ":2:1: cluster.name: ", ":2:1: cluster.join: ", ":3:3: cluster.nam: "}
	stdout, stderr, code = run(t.Context(), "check-config", bad)
	if code != 2 || stdout != "" || strings.Count(stderr, "\n") != len(want) {
		t.Errorf("bad: exit %d\n%s%s", code, stdout, stderr)
	}
	for _, w := range want {
		if !strings.Contains(stderr, bad+w) {
			t.Errorf("no %s in\n%s", w, stderr)
		}
	}
	stdout, _, code = run(t.Context(), "check-config", bad, "-o", "json")
	var out checked
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != 2 || out.OK || len(out.Problems) != len(want) || out.Problems[0].Line != 1 || out.Problems[0].Column != 14 {
		t.Errorf("bad json: exit %d, %v\n%s", code, err, stdout)
	}
	if _, stderr, code = run(t.Context(), "check-config", "/nonexistent"); code != 2 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("missing: exit %d\n%s", code, stderr)
	}
}

// TestCheckConfigRefusesWhatRunRefuses: all of it at once, each in its place.
func TestCheckConfigRefusesWhatRunRefuses(t *testing.T) {
	bad := write(t, loopback+"lease: {ttl: 2s}\nrebuild:\n  xtrabackup: {args: [--throttle=5, --compress]}\n  mariabackup: {args: [--stream=foo, --pass=hidden]}\n  preserve: ['*']\n")
	want := []string{":3:14: lease.ttl: 2s is too short; at least 4s\n", ":5:37: rebuild.xtrabackup.args[1]: --compress ",
		":6:24: rebuild.mariabackup.args[0]: --stream ", ":6:38: rebuild.mariabackup.args[1]: --pass ", ":7:14: rebuild.preserve[0]: "}
	for _, args := range [][]string{{"check-config", bad}, {"run", "--config", bad}} {
		_, stderr, code := run(t.Context(), args...)
		if code != 2 || strings.Count(stderr, "\n") != len(want) || strings.Contains(stderr, "hidden") {
			t.Errorf("%v: exit %d\n%s", args, code, stderr)
		}
		for _, w := range want {
			if !strings.Contains(stderr, bad+w) {
				t.Errorf("%v: no %s in\n%s", args, w, stderr)
			}
		}
	}
}

func TestRunRefusesConfiguration(t *testing.T) {
	open := write(t, "cluster: {name: a, join: ['192.0.2.1:7373'], bind: 0.0.0.0}\n")
	_, stderr, code := run(t.Context(), "run", "--config", open)
	if code != 2 || strings.Count(stderr, "resilver: "+open) != 2 || !strings.Contains(stderr, "`resilver certs init`") {
		t.Errorf("open cluster: exit %d\n%s", code, stderr)
	}
	bad := write(t, "cluster: {name: a, join: []}\nfoo: 1\n")
	_, stderr, code = run(t.Context(), "run", "--config", bad)
	if code != 2 || strings.Count(stderr, "resilver: "+bad) != 2 {
		t.Errorf("bad: exit %d\n%s", code, stderr)
	}
}

func TestStartGuardNeedsOnlyTheStateDirectory(t *testing.T) {
	state := t.TempDir()
	typo := write(t, "lease: {ttl: soon}\nstate_dir: "+state+"\n")
	if _, stderr, code := run(t.Context(), "start-guard", "--config", typo); code != 0 {
		t.Errorf("a typo elsewhere: exit %d\n%s", code, stderr)
	}
	if err := os.WriteFile(filepath.Join(state, "journal.json"), []byte("not a journal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t.Context(), "start-guard", "--config", typo); code != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("an unreadable journal: exit %d\n%s", code, stderr)
	}
}

// A mistake that hides state_dir keeps mysqld down only where a rebuild is
// under way, or where nobody can tell; and it is said either way.
func TestStartGuardWithABrokenConfiguration(t *testing.T) {
	state, knows, live, marked, lost := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(datadir.Mark(marked, "rebuild r1"))
	must(os.WriteFile(filepath.Join(lost, "journal.json"), []byte("not a journal"), 0o600))
	must(os.WriteFile(filepath.Join(knows, "last.json"), []byte(`{"datadir":"`+live+`"}`), 0o600))
	file := filepath.Join(state, "a-file")
	must(os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		name, text, datadir string
		code                int
	}{
		{"no yaml", "state_dir: STATE\na: [\n", "", 0},
		{"no yaml above", "a: [\n 'state_dir': \"STATE\"  # here\n", live, 0},
		{"twice", "state_dir: STATE\nstate_dir: /no/such\n", live, 0},
		{"drop-in names another datadir", "state_dir: KNOWS\na: [\n", "/no/such/datadir", 0},
		{"not told, no marker", "state_dir: [x\n", live, 0},
		{"a rebuild, by one of two", "state_dir: STATE\nstate_dir: LOST\n", live, 2},
		{"a rebuild", "state_dir: LOST\na: [\n", live, 2},
		{"a marker", "state_dir: STATE\na: [\n", marked, 2},
		{"not told, a marker", "state_dir: [x\n", marked, 2},
		{"not told, datadir gone", "state_dir: [x\n", "/no/such/datadir", 2},
		{"not told at all", "state_dir: x\n", "", 2},
		{"in one line", "{state_dir: STATE, a: [\n", "", 2},
		{"state_dir cannot be read", "state_dir: FILE\na: [\n", live, 2},
	} {
		conf := write(t, strings.NewReplacer("STATE", state, "KNOWS", knows, "LOST", lost, "FILE", file).Replace(c.text))
		_, stderr, code := run(t.Context(), "start-guard", "--config", conf, "--datadir", c.datadir)
		if code != c.code || !strings.Contains(stderr, conf+":") || strings.Contains(stderr, "may start, because") != (code == 0) {
			t.Errorf("%s: exit %d, want %d\n%s", c.name, code, c.code, stderr)
		}
	}
}

// TestNoSuchFileSaysWhatToDo: one line, with the name, the cure and one exit code.
func TestNoSuchFileSaysWhatToDo(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for args, c := range map[string]struct {
		code int
		cure string
	}{
		"check-config " + none:                             {2, "; name the file to check, such as /etc/resilver/resilver.yaml\n"},
		"run --config " + none:                             {2, "; name an existing one by --config FILE; without it that is /etc/resilver/resilver.yaml\n"},
		"start-guard --config " + none:                     {2, "; name an existing one by --config FILE; without it that is /etc/resilver/resilver.yaml\n"},
		"finish --config " + none:                          {2, "; name an existing one by --config FILE; without it that is /etc/resilver/resilver.yaml\n"},
		"supervise --start --config " + none:               {2, "; name an existing one by --config FILE; without it that is /etc/resilver/resilver.yaml\n"},
		"supervise --config " + none + " -- /bin/sh":       {2, "; name an existing one by --config FILE; without it that is /etc/resilver/resilver.yaml\n"},
		"grants --config " + none:                          {2, "; name an existing one by --config FILE, or none for the defaults\n"},
		"certs issue --cluster a --node db1 --dir " + none: {1, "; `resilver certs init` makes the authority, in the directory that --dir names\n"},
	} {
		_, stderr, code := run(t.Context(), strings.Fields(args)...)
		if code != c.code || !strings.Contains(stderr, none) || !strings.HasSuffix(stderr, "no such file or directory"+c.cure) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, want %d\n%s", args, code, c.code, stderr)
		}
	}
}

// finish needs no more than the guard, and says nothing where there is nothing
// to do.
func TestFinish(t *testing.T) {
	state := t.TempDir()
	conf := write(t, "lease: {ttl: soon}\nstate_dir: "+state+"\n")
	if stdout, stderr, code := run(t.Context(), "finish", "--config", conf); code != 0 || stdout+stderr != "" {
		t.Errorf("nothing to do: exit %d\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(t.Context(), "finish", "--config", filepath.Join(state, "none.yaml")); code != 2 || stderr == "" {
		t.Errorf("no such file: exit %d\n%s", code, stderr)
	}
	if err := os.WriteFile(filepath.Join(state, "journal.json"), []byte("not a journal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t.Context(), "finish", "--config", conf); code != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("an unreadable journal: exit %d\n%s", code, stderr)
	}
}

// An installed resilver that is not configured keeps no database down.
func TestStartGuardWithoutConfiguration(t *testing.T) {
	if _, err := os.Stat(defaultConfig); err == nil {
		t.Logf("%s exists: there is nothing to try on this machine", defaultConfig)
		return
	}
	for _, command := range []string{"start-guard", "finish"} {
		if _, stderr, code := run(t.Context(), command); code != 0 {
			t.Errorf("%s: exit %d\n%s", command, code, stderr)
		}
	}
}

// supervise starts what stands behind --, hands the environment on without
// what is resilver's, and ends with its context.
func TestSupervise(t *testing.T) {
	dir := t.TempDir()
	conf := write(t, loopback+"state_dir: "+dir+"/state\n")
	outFile, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outFile.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- Program{Stdout: outFile, Stderr: &errs, Environ: []string{"KEPT=1", "RESILVER_FAILPOINT=x"}}.
			Main(ctx, []string{"supervise", "--config", conf, "--", "env", "--null"})
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		out, _ := os.ReadFile(outFile.Name())
		if bytes.Contains(out, []byte("KEPT=1\x00")) {
			if bytes.Contains(out, []byte("RESILVER_")) {
				t.Errorf("mysqld's environment: %q", out)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was started: %q", out)
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d\n%s", code, errs.String())
	}
	if _, stderr, code := run(t.Context(), "supervise", "--config", conf, "--start"); code != 4 || !strings.Contains(stderr, "supervise.sock: connect: no such file or directory; is `resilver supervise` running") {
		t.Errorf("nobody to start it: exit %d\n%s", code, stderr)
	}
	if _, stderr, code := run(t.Context(), "supervise", "--config", conf, "--start", "--", "mysqld"); code != 2 {
		t.Errorf("what to start is the supervisor's: exit %d\n%s", code, stderr)
	}
	if _, stderr, code := run(t.Context(), "supervise", "--config", conf, "--", "nosuchmysqld"); code != 2 || !strings.Contains(stderr, "find nosuchmysqld") {
		t.Errorf("no program: exit %d\n%s", code, stderr)
	}
}

func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if stdout, stderr, code := run(t.Context(), "certs", "init", "--dir", dir, "--cluster", "orders"); code != 0 || !strings.Contains(stdout, "gossip.key") {
		t.Fatalf("init: exit %d\n%s%s", code, stdout, stderr)
	}
	if info, err := os.Stat(filepath.Join(dir, "gossip.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("gossip.key: %v, %v", info, err)
	}
	key, _ := os.ReadFile(filepath.Join(dir, "gossip.key"))
	if _, stderr, code := run(t.Context(), "certs", "init", "--dir", dir, "--cluster", "orders"); code != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("init again: exit %d\n%s", code, stderr)
	}
	if again, _ := os.ReadFile(filepath.Join(dir, "gossip.key")); !bytes.Equal(key, again) {
		t.Error("the gossip key was replaced")
	}
	if _, stderr, code := run(t.Context(), "certs", "issue", "--dir", dir, "--out", dir, "--cluster", "orders", "--node", "db1", "--host", "127.0.0.1"); code != 0 {
		t.Fatalf("issue: exit %d\n%s", code, stderr)
	}
	if _, _, code := run(t.Context(), "certs", "issue", "--dir", dir, "--cluster", "orders", "--node", "db2", "--days", "0"); code != 2 {
		t.Errorf("issue for no day: exit %d", code)
	}
	stdout, _, code := run(t.Context(), "certs", "show", filepath.Join(dir, "db1.crt"), filepath.Join(dir, "ca.crt"), "-o", "json")
	var all []certificate
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 0 || len(all) != 2 || all[0].Node == nil || *all[0].Node != "db1" || all[1].Node != nil || !all[1].CA {
		t.Errorf("show: exit %d, %v\n%s", code, err, stdout)
	}
	// What it made is what a configuration wants.
	conf := write(t, strings.ReplaceAll("cluster: {name: orders, join: ['192.0.2.1:7373'], gossip_key_file: D/gossip.key, tls: {ca: D/ca.crt, cert: D/db1.crt, key: D/db1.key}}\n", "D", dir))
	if stdout, stderr, code := run(t.Context(), "check-config", conf, "-o", "json"); code != 0 || strings.Contains(stdout, "cluster.tls") {
		t.Errorf("check-config: exit %d\n%s%s", code, stdout, stderr)
	}
}

// A word that is no shell is a mistake, not a call for help.
func TestCompletion(t *testing.T) {
	if stdout, _, code := run(t.Context(), "completion", "bash"); code != 0 || !strings.Contains(stdout, "resilver") {
		t.Errorf("bash: exit %d\n%s", code, stdout)
	}
	if stdout, stderr, code := run(t.Context(), "completion", "foo"); code != 2 || stdout != "" || !strings.Contains(stderr, "foo") {
		t.Errorf("foo: exit %d\n%s%s", code, stdout, stderr)
	}
}
