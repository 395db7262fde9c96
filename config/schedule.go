package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// drillsApart is how far apart drills must be: each is a whole copy.
const drillsApart = time.Hour

// manyTimes is how many times of a schedule are looked at for that.
const manyTimes = 100

// DrillSchedule reads policy.drill: the five fields of cron, or a word such as
// @weekly, in the time zone that CRON_TZ=ZONE before it names, else in UTC. It
// is nil for none.
func (p *Policy) DrillSchedule() (cron.Schedule, error) {
	text := strings.TrimSpace(p.Drill)
	if text == "" {
		return nil, nil
	}
	if strings.HasPrefix(text, "@every") {
		return nil, fmt.Errorf("%q counts from the start of the sidecar", text)
	}
	if !strings.HasPrefix(text, "CRON_TZ=") && !strings.HasPrefix(text, "TZ=") {
		text = "CRON_TZ=UTC " + text
	}
	s, err := parseCron(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a schedule: %w", p.Drill, err)
	}
	last := s.Next(time.Now())
	if last.IsZero() {
		return nil, fmt.Errorf("%q never comes", p.Drill)
	}
	for range manyTimes {
		next := s.Next(last)
		if next.IsZero() {
			break
		}
		if next.Sub(last) < drillsApart {
			return nil, fmt.Errorf("%q comes again after %s; each drill is a whole copy, and they must be an hour apart", p.Drill, next.Sub(last))
		}
		last = next
	}
	return s, nil
}

// parseCron also takes what the parser panics on: a zone without fields.
func parseCron(text string) (cron.Schedule, error) {
	if _, fields, _ := strings.Cut(text, " "); strings.TrimSpace(fields) == "" {
		return nil, fmt.Errorf("it has no fields after the time zone")
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return s, nil
}
