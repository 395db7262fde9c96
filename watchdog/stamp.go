package watchdog

import (
	"encoding/json"
	"fmt"
	"time"
)

// stampLayout is RFC 3339 in UTC with exactly three decimals.
const stampLayout = "2006-01-02T15:04:05.000Z"

// Stamp is an instant as resilver writes it everywhere: RFC 3339 in UTC with
// exactly three decimals. The zero Stamp is absent, null in JSON.
type Stamp struct{ time.Time }

// StampOf returns t as a Stamp, cut to the millisecond.
func StampOf(t time.Time) Stamp {
	if t.IsZero() {
		return Stamp{}
	}
	return Stamp{t.UTC().Truncate(time.Millisecond)}
}

func (s Stamp) String() string {
	if s.IsZero() {
		return ""
	}
	return s.UTC().Format(stampLayout)
}

// MarshalJSON writes the instant, or null where it is absent.
func (s Stamp) MarshalJSON() ([]byte, error) {
	if s.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(s.String())
}

// UnmarshalJSON reads any RFC 3339 instant, or null.
func (s *Stamp) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("read a time: %w", err)
	}
	if text == nil || *text == "" {
		*s = Stamp{}
		return nil
	}
	t, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return fmt.Errorf("read a time: %w", err)
	}
	*s = StampOf(t)
	return nil
}

// Lag is how far a replica is behind its source. Unknown is a state of its
// own: it is never zero.
type Lag struct {
	Behind time.Duration
	Known  bool
}

// Seconds returns the lag in seconds, nil where it is unknown.
func (l Lag) Seconds() *float64 {
	if !l.Known {
		return nil
	}
	s := l.Behind.Seconds()
	return &s
}
