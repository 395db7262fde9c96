package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"resilver/config/secret"
	"resilver/watchdog"
)

func TestSourceConfigAndAttach(t *testing.T) {
	healthy(t)
	s, ctx := lab.replica.own, t.Context()
	c, err := s.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c.Password.Reveal() != replPassword || c.Host != "127.0.0.1" || c.Port != lab.source.port || !c.AutoPosition ||
		!c.GetSourcePublicKey || c.ConnectRetry != 1 || c.RetryCount != 3 || len(c.Filters) != 0 {
		t.Errorf("%+v", c)
	}
	text, err := json.Marshal(c)
	if err != nil || strings.Contains(string(text), "ss\\\\word") || strings.Contains(fmt.Sprintf("%v %+v %#v", c, c, c), "word ?") {
		t.Errorf("the password shows: %s, %v", text, err)
	}
	// Everything that can be set comes back as it was.
	lab.source.must(t, "CREATE USER IF NOT EXISTS 'ap\\'p'@'%'", "GRANT REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN ON *.* TO 'ap\\'p'@'%'")
	healthy(t)
	lab.replica.must(t, "STOP REPLICA", `CHANGE REPLICATION SOURCE TO SOURCE_DELAY=1, SOURCE_HEARTBEAT_PERIOD=7.5,
		SOURCE_COMPRESSION_ALGORITHMS='zstd', SOURCE_ZSTD_COMPRESSION_LEVEL=5, REQUIRE_ROW_FORMAT=1,
		GTID_ONLY=1, PRIVILEGE_CHECKS_USER='ap\'p'@'%', REQUIRE_TABLE_PRIMARY_KEY_CHECK=OFF, SOURCE_TLS_VERSION='TLSv1.3',
		SOURCE_TLS_CIPHERSUITES='TLS_AES_256_GCM_SHA384', SOURCE_SSL=1, SOURCE_SSL_CIPHER='', SOURCE_BIND='127.0.0.1'`,
		"CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB=(`we``ird`, x), REPLICATE_WILD_IGNORE_TABLE=('q\\\\_%.t%'), REPLICATE_REWRITE_DB=((a1, b1), (a2, b2)), REPLICATE_IGNORE_TABLE=(x.y)")
	want, err := s.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want.Delay != 1 || want.ZstdLevel != 5 || want.PrivilegeUser != "ap'p" || len(want.Filters) != 4 || want.TLSCiphersuites == nil {
		t.Errorf("%+v", want)
	}
	if text, err = json.Marshal(want); err != nil {
		t.Fatal(err)
	}
	if err := s.ResetSource(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SourceConfig(ctx); !errors.Is(err, ErrNotReplica) {
		t.Errorf("without a source: %v", err)
	}
	obs := s.Observe(ctx)
	if d, _ := watchdog.Diagnose(watchdog.Memory{}, obs, watchdog.PrimaryFacts{}, obs.At, watchdog.DiagnoseConfig{}); d.Class != watchdog.ClassUnknown || d.Reason != watchdog.ReasonNoSource {
		t.Errorf("without a source: %+v", d)
	}
	if err := s.ResetSource(ctx); err != nil {
		t.Errorf("resetting twice: %v", err)
	}
	var read SourceConfig
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	read.Password = want.Password
	if err := s.Attach(ctx, read); err != nil {
		t.Fatal(err)
	}
	got, err := s.SourceConfig(ctx)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("attached as\n%+v, wanted\n%+v: %v", got, want, err)
	}
	if err := s.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	got, err = s.SourceConfig(ctx)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("attached as\n%+v, wanted\n%+v: %v", got, c, err)
	}
	healthy(t)
}

func TestAttachNeverShowsThePassword(t *testing.T) {
	healthy(t)
	s, ctx := lab.replica.own, t.Context()
	good, err := s.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.Password = secret.New(strings.Repeat("in-no-error", 4)) // the server takes 32 characters
	err = s.Attach(ctx, bad)
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "in-no-error") {
		t.Errorf("error: %v", err)
	}
	if err := s.Attach(ctx, SourceConfig{}); err == nil {
		t.Error("attached to nothing")
	}
	if err := s.Attach(ctx, good); err != nil {
		t.Fatal(err)
	}
	healthy(t)
}

func TestScrub(t *testing.T) {
	_, err := lab.source.root.Exec("SELECT nonsense FROM 'my-secret' WHERE")
	if err == nil || !strings.Contains(err.Error(), "my-secret") {
		t.Fatal(err)
	}
	clean := scrub(fmt.Errorf("ask: %w", err), secret.New("my-secret"))
	if strings.Contains(clean.Error(), "my-secret") || errno(clean) != 1064 {
		t.Errorf("%v, errno %d", clean, errno(clean))
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]int{"9.7.4-2": 90704, "8.0.36": 80036, "8.4.0-commercial": 80400, "8.0.23": 80023,
		"8.0.22": 0, "5.7.44-log": 0, "10.0.1": 0, "9.7": 0, "nine": 0, "": 0} {
		v, err := parseVersion(text, "MySQL Community Server - GPL")
		if (want == 0) != errors.Is(err, ErrVersion) || want != 0 && v.number != want {
			t.Errorf("%q: %d, %v", text, v.number, err)
		}
	}
	for text, want := range map[string]int{"10.11.18-MariaDB-0+deb12u1-log": 101118, "10.6.0-MariaDB": 100600, "11.8.3-MariaDB": 110803,
		"10.5.29-MariaDB": 0, "12.0.2-MariaDB": 0, "5.5.5-10.11.18-MariaDB": 0, "8.0.36": 0} {
		v, err := parseVersion(text, "mariadb.org binary distribution")
		if (want == 0) != errors.Is(err, ErrVersion) || want != 0 && v.number != want || v.flavor != "mariadb" {
			t.Errorf("%q: %s %d, %v", text, v.flavor, v.number, err)
		}
	}
}

// TestChanges: each setting that is another is named, and no password shown.
func TestChanges(t *testing.T) {
	was := SourceConfig{User: "repl", Password: secret.New("one-secret")}
	if got := was.Changes(was); len(got) != 0 {
		t.Errorf("nothing changed: %s", got)
	}
	fields := reflect.TypeFor[SourceConfig]()
	for i := range fields.NumField() {
		now := was
		switch f := reflect.ValueOf(&now).Elem().Field(i); f.Interface().(type) {
		case string:
			f.SetString("another")
		case int:
			f.SetInt(7)
		case bool:
			f.SetBool(true)
		case *string:
			f.Set(reflect.ValueOf(new(string)))
		case []Filter:
			f.Set(reflect.ValueOf([]Filter{{"REPLICATE_DO_DB", "a"}}))
		case secret.Secret:
			f.Set(reflect.ValueOf(secret.New("other-secret")))
		default:
			t.Fatalf("%s: of a type that this test does not know", fields.Field(i).Name)
		}
		got := now.Changes(was)
		name := fields.Field(i).Tag.Get("json")
		if name == "-" {
			name = "password"
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], name+" ") || strings.Contains(got[0], "-secret") {
			t.Errorf("%s: %q", fields.Field(i).Name, got)
		}
	}
}
