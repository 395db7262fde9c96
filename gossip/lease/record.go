package lease

import (
	"encoding/json"

	"resilver/watchdog"
)

// fitRecord leaves out of a record what would make it too large for the log.
func fitRecord(rec watchdog.Record) *watchdog.Record {
	rec.Error = cut(rec.Error)
	if b, err := json.Marshal(rec); err == nil && len(b) <= maxRecordBytes {
		return &rec
	}
	rec.Guards = nil
	if b, err := json.Marshal(rec); err == nil && len(b) <= maxRecordBytes {
		return &rec
	}
	rec.Steps = nil
	return &rec
}
