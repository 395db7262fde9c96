package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// With -o json stdout is one JSON value, whatever goes wrong; the line for
// people is on stderr besides.
func TestEveryAnswerIsJSON(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fine := put("fine.yaml", loopback+"state_dir: "+dir+"/fine\n")
	torn := put("torn.yaml", loopback+"state_dir: "+dir+"/torn\n")
	put("torn/journal.json", "not a journal")
	wrong := put("wrong.yaml", "cluster: {name: a, join: []}\nfoo: 1\n")
	blind := put("blind.yaml", "state_dir: "+dir+"/fine\na: [\n")
	live := filepath.Join(dir, "live")
	if err := os.Mkdir(live, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := datadir.Mark(live, "rebuild r1"); err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(dir, "certs")
	refused := admin.Refuse([]watchdog.Guard{{ID: "not-primary", Verdict: watchdog.Fail}})
	for _, test := range []struct {
		args string
		err  error // of the daemon
		code int
		says string // in the JSON
	}{
		{args: "status", says: `"cluster":"orders"`},
		{args: "plan", says: `"node":"db2"`},
		{args: "plan --all", says: `"node":"db2"`},
		{args: "lease", says: `"cluster_id":"c1"`},
		{args: "history", says: `[{"id":"r1"`},
		{args: "history r1", says: `[{"id":"r1"`},
		{args: "history r9", code: 2, says: `{"code":"usage","error":"there is no rebuild r9`},
		{args: "rebuild", says: `{"id":"r1"`},
		{args: "rebuild --follow", says: `[{"id":"r1"`},
		{args: "rebuild", err: refused, code: 3, says: `{"code":"refused"`},
		{args: "rebuild --from db9", err: admin.Usage("--from db9: nobody"), code: 2, says: `{"code":"usage","error":"--from db9: nobody","guards":[]}`},
		{args: "cancel", says: `{}`},
		{args: "cancel", err: errors.New("disk on fire"), code: 1, says: `{"code":"failed","error":"disk on fire","guards":[]}`},
		{args: "pause --reason x", says: `{}`},
		{args: "pause", code: 2, says: `{"code":"usage","error":"required flag`},
		{args: "pause --reason x --for -1s", code: 2, says: `{"code":"usage"`},
		{args: "resume", says: `{}`},
		{args: "ack", says: `{}`},
		{args: "ack", err: watchdog.ErrNoQuorum, code: 1, says: `{"code":"no-quorum"`},
		{args: "version", says: `"version":"1.2.3"`},
		{args: "grants", says: `[{"role":"sidecar"`},
		{args: "grants --role king", code: 2, says: `{"code":"usage"`},
		{args: "check-config " + fine, says: `"ok":true`},
		{args: "check-config " + wrong, code: 2, says: `"ok":false`},
		{args: "check-config /none", code: 2, says: `{"code":"usage"`},
		{args: "certs init --cluster a --dir " + certs, says: `"ca":`},
		{args: "certs init --cluster a --dir " + certs, code: 1, says: `{"code":"failed"`},
		{args: "certs issue --cluster a --node db1 --dir " + certs, says: `"cert":`},
		{args: "certs show " + certs + "/ca.crt", says: `[{"file":`},
		{args: "certs show /none", code: 1, says: `{"code":"failed"`},
		{args: "run --config " + wrong, code: 2, says: `{"code":"usage"`},
		{args: "supervise --start --config " + fine, code: 4, says: `{"code":"unreachable","error":"start mysqld: the supervisor cannot be reached`},
		{args: "start-guard --config " + fine, says: `{"may_start":true,"reason":null,"warning":null}`},
		{args: "start-guard --config " + torn, code: 1, says: `{"may_start":false,"reason":"the journal`},
		{args: "start-guard --config " + fine + " --datadir " + live, code: 1, says: `{"may_start":false,"reason":"` + live + ` is marked`},
		{args: "start-guard --config " + blind, says: `{"may_start":true,"reason":null,"warning":"` + blind},
		{args: "start-guard --config " + blind + " --datadir " + live, code: 2, says: `{"may_start":false,"reason":"` + blind},
		{args: "finish --config " + fine, says: `{"may_start":true,"reason":null,"warning":null}`},
		{args: "finish --config " + torn, code: 1, says: `{"may_start":false,"reason":"the journal`},
		{args: "finish --config /none", code: 2, says: `{"may_start":false,"reason":"read configuration`},
		{args: "reboot", code: 2, says: `{"code":"usage","error":"unknown command`},
		{args: "status --loud", code: 2, says: `{"code":"usage","error":"unknown flag`},
	} {
		d := &daemon{err: test.err, history: []watchdog.Record{healed()}, statuses: []admin.Status{status("", 0)}}
		args := append(strings.Fields(test.args), "--socket", serve(t, d), "-o", "json")
		stdout, stderr, code := run(t.Context(), args...)
		if got := onlyJSON(t, stdout); code != test.code || !strings.Contains(got, test.says) {
			t.Errorf("%s: exit %d, want %d with %s in\n%s%s", test.args, code, test.code, test.says, stdout, stderr)
		}
		if code != 0 && !strings.HasPrefix(stderr, "resilver: ") && !strings.HasPrefix(test.args, "check-config") {
			t.Errorf("%s: nothing for people: %s", test.args, stderr)
		}
	}
	for _, args := range []string{"status", "status --watch", "plan", "history", "history r1", "lease", "rebuild --follow", "cancel", "pause --reason x", "resume", "ack"} {
		stdout, _, code := run(t.Context(), append(strings.Fields(args), "--socket", dir+"/none", "-o", "json")...)
		if got := onlyJSON(t, stdout); code != 4 || !strings.Contains(got, `{"code":"unreachable","error":"the daemon cannot be reached`) {
			t.Errorf("%s of nobody: exit %d\n%s", args, code, stdout)
		}
	}
}

// onlyJSON is the one JSON value that a text must be, without spaces.
func onlyJSON(t *testing.T, text string) string {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(text))
	var value json.RawMessage
	if err := in.Decode(&value); err != nil {
		t.Errorf("no JSON: %v in %q", err, text)
		return ""
	}
	if err := in.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("more than one value: %q", text)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		t.Error(err)
	}
	return b.String()
}
