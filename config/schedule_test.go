package config

import (
	"strings"
	"testing"
	"time"
)

func TestDrillSchedule(t *testing.T) {
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC) // a Wednesday
	for text, want := range map[string]string{
		"":                                  "",
		"30 3 * * 0":                        "2026-07-05T03:30:00Z",
		"CRON_TZ=Europe/Berlin 30 3 * * 0":  "2026-07-05T01:30:00Z",
		"TZ=Asia/Kathmandu 0 12 * * *":      "2026-07-01T06:15:00Z",
		"@weekly":                           "2026-07-05T00:00:00Z",
		"0 */6 * * *":                       "2026-07-01T06:00:00Z",
		"  0 4 1 * *  ":                     "2026-07-01T04:00:00Z",
		"CRON_TZ=America/New_York @monthly": "2026-07-01T04:00:00Z",
	} {
		p := Policy{Drill: text}
		s, err := p.DrillSchedule()
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := ""
		if s != nil {
			got = s.Next(at).UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q comes at %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"weekly":                    "is not a schedule",
		"30 3 * *":                  "is not a schedule",
		"61 3 * * *":                "is not a schedule",
		"CRON_TZ=Mars/Base 1 * * *": "is not a schedule",
		"CRON_TZ=UTC":               "no fields",
		"TZ=":                       "no fields",
		"@every 2h":                 "start of the sidecar",
		"* * * * *":                 "an hour apart",
		"0,30 3 * * 0":              "an hour apart",
		"0 0 30 2 *":                "never comes",
	} {
		p := Policy{Drill: text}
		if _, err := p.DrillSchedule(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
