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

func TestMariaDBSourceConfigAndAttach(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	c, err := s.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Password.IsZero() || c.Host != "127.0.0.1" || c.Port != p.source.port || !c.AutoPosition || c.ConnectRetry != 1 || len(c.Filters) != 0 {
		t.Errorf("%+v", c)
	}
	c.Password = pw(replPassword)
	// Everything that can be set comes back as it was, under a name too.
	for _, name := range []string{"", "od'd `name`"} {
		if err := s.ResetSource(ctx); err != nil {
			t.Fatal(err)
		}
		p.replica.must(t, "CHANGE MASTER "+literal(name)+" TO MASTER_HOST='127.0.0.1', MASTER_PORT="+fmt.Sprint(p.source.port)+`, MASTER_USER='x', MASTER_PASSWORD='y',
			MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=7, MASTER_DELAY=1, MASTER_HEARTBEAT_PERIOD=7.5, MASTER_SSL=1, MASTER_SSL_VERIFY_SERVER_CERT=0,
			MASTER_SSL_CA='/ca', MASTER_SSL_CAPATH='/capath', MASTER_SSL_CERT='/cert', MASTER_SSL_KEY='/key', MASTER_SSL_CIPHER='AES', MASTER_SSL_CRL='/crl',
			MASTER_SSL_CRLPATH='/crlpath', IGNORE_SERVER_IDS=(8,9), IGNORE_DOMAIN_IDS=(5,6)`)
		filters := 2
		if name == "" {
			p.replica.must(t, "SET GLOBAL replicate_ignore_db='we``ird,x'", `SET GLOBAL replicate_wild_ignore_table='q\\_%.t%'`)
			filters = 4
		}
		want, err := s.SourceConfig(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want.Channel != name || want.Delay != 1 || want.Heartbeat != "7.5" || len(want.Filters) != filters || want.TLSCRLPath != "/crlpath" || !want.TLS {
			t.Errorf("%+v", want)
		}
		if src := sourceOf(t, s); !strings.Contains(src.Filters, "Replicate_Ignore_Domain_Ids=5, 6") || src.Delay.Seconds() != 1 {
			t.Errorf("observed %+v", src)
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		p.replica.must(t, "SET GLOBAL replicate_ignore_db=''", "SET GLOBAL replicate_wild_ignore_table=''", "SET GLOBAL replicate_do_db='left over'")
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
		if name != "" {
			p.replica.must(t, "SET GLOBAL replicate_do_db=''")
		}
		var read SourceConfig
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		read.Password = pw("y")
		if err := s.Attach(ctx, read); err != nil {
			t.Fatal(err)
		}
		got, err := s.SourceConfig(ctx)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("attached as\n%+v, wanted\n%+v: %v", got, want, err)
		}
	}
	if err := s.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	got, err := s.SourceConfig(ctx)
	c.Password = secret.Secret{}
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("attached as\n%+v, wanted\n%+v: %v", got, c, err)
	}
	p.healthy(t)
}

func TestMariaDBAttachRefusesAndNeverShowsThePassword(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	good, err := s.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	good.Password = pw(replPassword)
	for name, change := range map[string]func(*SourceConfig){
		"host too long": func(c *SourceConfig) { c.Host = strings.Repeat("h", 300) },
		"list of ids":   func(c *SourceConfig) { c.Filters = []Filter{{"IGNORE_SERVER_IDS", "1); DROP TABLE t.a"}} },
		"filter":        func(c *SourceConfig) { c.Filters = []Filter{{"READ_ONLY", "0"}} },
		"nowhere":       func(c *SourceConfig) { *c = SourceConfig{} },
	} {
		bad := good
		bad.Password = pw("in-no-error")
		change(&bad)
		if err := s.Attach(ctx, bad); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "in-no-error") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Attach(ctx, good); err != nil {
		t.Fatal(err)
	}
	p.healthy(t)
	// More than one connection is nothing that could be set up again.
	p.replica.must(t, "CHANGE MASTER 'second' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x'")
	if _, err := s.SourceConfig(ctx); !errors.Is(err, ErrManySources) {
		t.Errorf("two sources: %v", err)
	}
	if obs := s.Observe(ctx); len(obs.Sources) != 2 {
		t.Errorf("two sources: %+v", obs.Sources)
	}
	p.replica.must(t, "RESET SLAVE 'second' ALL")
	p.healthy(t)
}
