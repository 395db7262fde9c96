package config

import (
	"path/filepath"
	"regexp"
	"strings"
)

// ofTheData are files that belong to one copy of the data and to no other:
// tablespaces, redo, undo and binary logs, and positions in these.
var ofTheData = []string{
	"ibdata1", "ibtmp1", "mysql.ibd", "ib_logfile0", "ib_logfile1", "#ib_redo1", "#ib_16384_0.dblwr", "undo001", "undo_001",
	"aria_log.00000001", "aria_log_control", "binlog.000001", "binlog.index", "mysql-bin.000001", "relay-bin.000001", "relay-bin.index",
	"master.info", "relay-log.info", "multi-master.info", "gtid_slave_pos.frm", "tc.log", "ib_buffer_pool",
}

// aLog is a name of a binary or relay log, whatever log_bin calls them, or of
// a tablespace; aLogBase begins one, by custom.
var (
	aLog     = regexp.MustCompile(`\.([0-9]{6,}|index|ibd|state)$`)
	aLogBase = regexp.MustCompile(`(bin|log)$`)
)

// dataFile names a file of the data that a pattern of rebuild.preserve would
// match, empty for none.
func dataFile(pattern string) string {
	names := ofTheData
	if aLog.MatchString(pattern) {
		return pattern
	}
	stem := pattern
	if i := strings.IndexAny(stem, `*?[\`); i >= 0 {
		stem = stem[:i]
	}
	if base, dot := strings.CutSuffix(stem, "."); dot || aLogBase.MatchString(base) {
		names = append(names[:len(names):len(names)], base+".000001", base+".index")
	}
	for _, name := range names {
		if ok, _ := filepath.Match(pattern, name); ok {
			return name
		}
	}
	return ""
}
