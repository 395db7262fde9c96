package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"resilver/config/secret"
)

const plain = "hunter2-swordfish"

func TestNothingPrintsASecret(t *testing.T) {
	s := secret.New(plain)
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%20s", "%T%v"} {
		fmt.Fprintf(&out, verb, s)
		fmt.Fprintf(&out, verb, &s)
		fmt.Fprintf(&out, verb, struct{ S secret.Secret }{s})
		fmt.Fprintf(&out, verb, map[string]any{"s": s})
	}
	fmt.Fprintln(&out, fmt.Errorf("login with %v: %w", s, errors.New("refused")))
	j, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": []secret.Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(struct{ S secret.Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "p", &s, "in", struct{ S secret.Secret }{s})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "p", &s, "in", struct{ S secret.Secret }{s})
	all := out.String() + string(j) + string(y) + log.String()
	hex := fmt.Sprintf("%x", plain)
	if strings.Contains(all, plain) || strings.Contains(strings.ToLower(all), hex) {
		t.Fatalf("the secret is printed in:\n%s", all)
	}
	if !strings.Contains(string(j), `"a":"***"`) || !strings.Contains(log.String(), "s=***") {
		t.Fatalf("no stars in:\n%s", all)
	}
	if s.Reveal() != plain || s.IsZero() || !(secret.Secret{}).IsZero() {
		t.Fatal("Reveal or IsZero is wrong")
	}
}

func TestFromFile(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
		err  string
	}{
		"newline":      {"pw\n", 0o600, "pw", ""},
		"no newline":   {"pw", 0o400, "pw", ""},
		"two newlines": {"pw\n\n", 0o600, "pw\n", ""},
		"crlf":         {"pw\r\n", 0o600, "pw", ""},
		"spaces kept":  {" p w ", 0o600, " p w ", ""},
		"group":        {"pw\n", 0o640, "", "open to others"},
		"others":       {"pw\n", 0o604, "", "mode 0604, 0600 is wanted"},
		"writable":     {"pw\n", 0o620, "", "open to others"},
		"empty":        {"", 0o600, "", "is empty"},
		"only newline": {"\n", 0o600, "", "is empty"},
		"huge":         {strings.Repeat("x", 65<<10), 0o600, "", "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			s, err := secret.FromFile(path)
			if c.err == "" {
				if err != nil || s.Reveal() != c.want {
					t.Fatalf("got %q, %v", s.Reveal(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got error %v, want %q", err, c.err)
			}
			if c.text != "" && c.text != "\n" && strings.Contains(err.Error(), c.text) {
				t.Fatalf("the error shows the secret: %v", err)
			}
		})
	}
	if _, err := secret.FromFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
	if _, err := secret.FromFile(dir); err == nil {
		t.Fatal("a directory was read")
	}
	if err := secret.CheckFile(filepath.Join(dir, "group")); !errors.Is(err, secret.ErrExposed) {
		t.Fatalf("CheckFile: %v", err)
	}
}
