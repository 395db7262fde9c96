package lease

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"
)

// What raft calls time is not when it said so.
func TestRaftLogHasEachKeyOnce(t *testing.T) {
	var out bytes.Buffer
	newRaftLogger(slog.New(slog.NewJSONHandler(&out, nil))).Warn("failed to contact", "server-id", "db3", "time", 2*time.Second)
	var line struct {
		Time     time.Time     `json:"time"`
		RaftTime time.Duration `json:"raft_time"`
		Server   string        `json:"server-id"`
		Message  string        `json:"msg"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Time.IsZero() || line.RaftTime != 2*time.Second || line.Server != "db3" || line.Message != "failed to contact" {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}
