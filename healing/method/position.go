package method

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// The files that the tools leave in a copy. MariaDB renames them in newer
// versions; the first that is there counts.
var (
	slaveInfoNames   = []string{"xtrabackup_slave_info", "mariadb_backup_slave_info"}
	binlogInfoNames  = []string{"xtrabackup_binlog_info", "mariadb_backup_binlog_info"}
	checkpointsNames = []string{"xtrabackup_checkpoints", "mariadb_backup_checkpoints"}
)

// maxInfo bounds such a file: a GTID set can be long.
const maxInfo = 4 << 20

// position is the GTID set at which the copy is consistent: what the donor had
// executed of its source where it is a replica, else what it had written
// itself. There is no third place to look: the table inside a copy of a
// primary is empty or old. replicated says which of the two it is.
func (k *kind) position(dir *os.Root) (set string, replicated bool, err error) {
	for _, from := range []struct {
		names      []string
		parse      func(text string, valid func(string) error) (string, error)
		replicated bool
	}{{slaveInfoNames, parseSlaveInfo, true}, {binlogInfoNames, parseBinlogInfo, false}} {
		name, text, err := readInfo(dir, from.names)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		set := ""
		if err == nil {
			set, err = from.parse(text, validGTID[k.flavor])
		}
		if err != nil {
			return "", false, fmt.Errorf("read the copy's position: %s: %w", name, err)
		}
		return set, from.replicated, nil
	}
	return "", false, fmt.Errorf("read the copy's position: there is neither %s nor %s", slaveInfoNames[0], binlogInfoNames[0])
}

// slaveInfoSet is the statement that MariaDB's and Percona's tool write:
// SET GLOBAL gtid_slave_pos = '0-1-2363'; SET GLOBAL gtid_purged='…';
var slaveInfoSet = regexp.MustCompile(`(?i)\bSET\s+GLOBAL\s+(gtid_slave_pos|gtid_purged)\s*=\s*'([^']*)'`)

func parseSlaveInfo(text string, valid func(string) error) (string, error) {
	found := slaveInfoSet.FindAllStringSubmatch(text, -1)
	switch len(found) {
	case 0:
		return "", errors.New("it names no GTID: the donor does not replicate by GTID")
	case 1:
		set := joined(found[0][2])
		return set, valid(set)
	}
	return "", fmt.Errorf("it names %d positions: the donor has several sources", len(found))
}

// parseBinlogInfo reads "file TAB position TAB GTID"; MySQL's set may go over
// several lines.
func parseBinlogInfo(text string, valid func(string) error) (string, error) {
	fields := strings.SplitN(strings.TrimSpace(text), "\t", 3)
	if len(fields) < 2 || strings.TrimSpace(fields[0]) == "" {
		return "", fmt.Errorf("it is not understood: %q", shorten(text))
	}
	if _, err := strconv.ParseUint(strings.TrimSpace(fields[1]), 10, 64); err != nil {
		return "", fmt.Errorf("it is not understood: %q", shorten(text))
	}
	if len(fields) < 3 || joined(fields[2]) == "" {
		return "", errors.New("it names no GTID: the donor writes none")
	}
	set := joined(fields[2])
	return set, valid(set)
}

func joined(set string) string { return strings.Join(strings.Fields(set), "") }

func shorten(text string) string {
	if len(text) > 80 {
		return text[:80] + "..."
	}
	return text
}

var (
	mariadbGTID = regexp.MustCompile(`^(\d{1,10})-\d{1,10}-\d{1,20}$`)
	mysqlGTID   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(:[a-z_][a-z0-9_]{0,31}|:\d{1,19}(-\d{1,19})?)+$`)
)

// validGTID says, by flavour, whether a text can be a GTID set. It goes into
// SQL later.
var validGTID = map[string]func(string) error{
	"mariadb": func(set string) error {
		domains := map[string]bool{}
		for part := range strings.SplitSeq(set, ",") {
			m := mariadbGTID.FindStringSubmatch(part)
			if m == nil || domains[m[1]] {
				return fmt.Errorf("%q is no GTID position", shorten(set))
			}
			domains[m[1]] = true
		}
		return nil
	},
	"mysql": func(set string) error {
		for part := range strings.SplitSeq(set, ",") {
			if !mysqlGTID.MatchString(part) {
				return fmt.Errorf("%q is no GTID set", shorten(set))
			}
		}
		return nil
	},
}

// What backup_type says of a copy. MariaDB's tool writes log-applied where
// Percona's writes full-prepared (P28).
const (
	typeBackup   = "full-backuped"
	typeApplied  = "log-applied"
	typePrepared = "full-prepared"
)

// checkpoints is what xtrabackup_checkpoints says.
type checkpoints struct {
	kind             string
	from, to, latest uint64 // log sequence numbers
}

func readCheckpoints(dir *os.Root) (checkpoints, error) {
	name, text, err := readInfo(dir, checkpointsNames)
	var c checkpoints
	if err == nil {
		c, err = parseCheckpoints(text)
	}
	if err != nil {
		return c, fmt.Errorf("read %s: %w", name, err)
	}
	return c, nil
}

func parseCheckpoints(text string) (checkpoints, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if _, twice := values[name]; !ok || twice {
			return checkpoints{}, fmt.Errorf("line %q is not understood", shorten(line))
		}
		values[name] = strings.TrimSpace(value)
	}
	c := checkpoints{kind: values["backup_type"]}
	for name, into := range map[string]*uint64{"from_lsn": &c.from, "to_lsn": &c.to, "last_lsn": &c.latest} {
		n, err := strconv.ParseUint(values[name], 10, 64)
		if err != nil {
			return checkpoints{}, fmt.Errorf("%s is %q", name, values[name])
		}
		*into = n
	}
	switch {
	case c.kind != typeBackup && c.kind != typeApplied && c.kind != typePrepared:
		return checkpoints{}, fmt.Errorf("backup_type is %q", c.kind)
	case c.from != 0:
		return checkpoints{}, fmt.Errorf("from_lsn is %d: the backup is not a full one", c.from)
	case c.to == 0 || c.latest < c.to:
		return checkpoints{}, fmt.Errorf("it ends at %d and goes to %d", c.latest, c.to)
	}
	return c, nil
}

// readInfo reads the first of the named files, which the copy's owner may have
// made into anything.
func readInfo(dir *os.Root, names []string) (name, text string, err error) {
	for _, name := range names {
		f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return name, "", err
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil {
			return name, "", err
		}
		if !info.Mode().IsRegular() || info.Size() > maxInfo {
			return name, "", fmt.Errorf("it is no file of at most %d bytes", maxInfo)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxInfo))
		return name, string(b), err
	}
	return names[0], "", fs.ErrNotExist
}
