package peer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	ca, out := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "certs")
	if err := InitCA(ca, "orders"); err != nil {
		t.Fatal(err)
	}
	if err := Issue(ca, out, "orders", "db_1.eu", []string{"db1", "10.0.0.1"}, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{filepath.Join(ca, CAKeyFile), filepath.Join(out, "db_1.eu.key")} {
		if fi, err := os.Stat(key); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, fi.Mode(), err)
		}
	}
	info, err := Show(filepath.Join(out, "db_1.eu.crt"))
	if err != nil || info.Cluster != "orders" || info.Node != "db_1.eu" || info.CA ||
		strings.Join(info.Hosts, " ") != "db1 10.0.0.1" || time.Until(info.NotAfter) > 24*time.Hour {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := Show(filepath.Join(out, CACertFile)); err != nil || !info.CA || info.Cluster != "orders" || info.Node != "" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := Show(filepath.Join(ca, CAKeyFile)); err == nil {
		t.Error("a key is shown as a certificate")
	}
	// A second node's certificate goes beside the first.
	if err := Issue(ca, out, "orders", "db2", nil, time.Hour); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(out, ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCertificatesRefuse(t *testing.T) {
	ca, out := t.TempDir(), t.TempDir()
	if err := Issue(ca, out, "orders", "db1", nil, time.Hour); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a CA: %v", err)
	}
	if err := InitCA(ca, "orders"); err != nil {
		t.Fatal(err)
	}
	if err := InitCA(ca, "orders"); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second CA: %v", err)
	}
	if err := Issue(ca, out, "orders", "db1", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(out, "db1.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Issue(ca, out, "orders", "db1", nil, time.Hour); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second certificate: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(out, "db1.key")); err != nil || string(after) != string(before) {
		t.Error("the key was touched")
	}
	if err := os.Remove(filepath.Join(out, "db1.crt")); err != nil {
		t.Fatal(err)
	}
	if err := Issue(ca, out, "orders", "db1", nil, time.Hour); !errors.Is(err, os.ErrExist) {
		t.Errorf("over an old key: %v", err)
	}
	var wrong *NameError
	if err := Issue(ca, out, "payments", "db1", nil, time.Hour); !errors.As(err, &wrong) {
		t.Errorf("for another cluster: %v", err)
	}
	for _, name := range []string{"", "a/b", "a..b", "-a", "a b", strings.Repeat("a", 64), "ä"} {
		if err := Issue(ca, out, "orders", name, nil, time.Hour); err == nil {
			t.Errorf("node name %q: accepted", name)
		}
	}
	if err := Issue(ca, out, "orders", "db3", nil, 0); err == nil {
		t.Error("a validity of nothing: accepted")
	}
}
