package replica

import (
	"testing"

	"resilver/watchdog"
)

func TestReissuable(t *testing.T) {
	const own, other = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "7583e806-e72e-11f1-8eee-02fc00000001"
	mysql := watchdog.Observation{Flavor: flavorMySQL, ServerUUID: own}
	mariadb := watchdog.Observation{Flavor: flavorMariaDB, ServerID: 2}
	for name, c := range map[string]struct {
		self              watchdog.Observation
		set, copied, want string
	}{
		"nothing":                      {mysql, "", other + ":1-9", ""},
		"under this uuid":              {mysql, other + ":8,\n" + own + ":1-2:tag:5", other + ":1-7", own + ":1-2:tag:5"},
		"under another":                {mysql, other + ":8", other + ":1-7", ""},
		"nothing of MariaDB":           {mariadb, "", "0-1-9", ""},
		"beyond the domain":            {mariadb, "0-2-10", "0-1-9", "0-2-10"},
		"before the domain goes on":    {mariadb, "0-2-10", "0-1-10", ""},
		"of another server":            {mariadb, "0-1-10", "0-1-9", ""},
		"in a domain that nobody has":  {mariadb, "7-2-1", "0-1-9", "7-2-1"},
		"the larger of two in the way": {mariadb, "0-2-10,7-2-3", "0-1-10,7-1-2", "7-2-3"},
	} {
		if got, err := Reissuable(c.set, c.copied, c.self); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	for _, self := range []watchdog.Observation{mysql, mariadb} {
		if got, err := Reissuable(own+":", "0-1-", self); err == nil {
			t.Errorf("half a set: %q", got)
		}
	}
}
