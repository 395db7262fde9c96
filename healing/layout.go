package healing

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// role is a kind of the server's files that may lie outside the datadir.
type role struct {
	variable string
	dir      string   // empty, or relative to the datadir, or anywhere
	own      []string // names of entries that are the server's, as datadir.Outside has them
	copied   bool     // a copy brings them along, more than a few bytes
}

// numbered is how log files are numbered.
const numbered = `\.\d{6,}`

// roles are those of a server, by its variables. The old entries of each go
// with the old datadir, also where a copy brings none.
func roles(paths map[string]string, channel string) []role {
	home, doublewrite := paths["innodb_data_home_dir"], paths["innodb_doublewrite_dir"]
	if doublewrite == "" {
		doublewrite = home // by the manual; 9.7.4 leaves them in the datadir
	}
	out := []role{
		{"innodb_data_home_dir", home, systemFiles(paths), true},
		{"innodb_log_group_home_dir", paths["innodb_log_group_home_dir"], []string{`#innodb_redo/`, `ib_logfile\d+`}, true},
		{"innodb_undo_directory", paths["innodb_undo_directory"], []string{`undo_?\d{3}`, `undo_\d+_trunc\.log`, `.+\.ibu`}, true},
		{"innodb_doublewrite_dir", doublewrite, []string{`#ib_\d+_\d+\.b?dblwr`}, false},
		{"aria_log_dir_path", paths["aria_log_dir_path"], []string{`aria_log_control`, `aria_log\.\d{8}`}, true},
	}
	out = append(out, logs("log_bin", paths, "")...)
	out = append(out, logs("relay_log", paths, "")...)
	if channel != "" {
		out = append(out, logs("relay_log", paths, "-"+channel)...)
	}
	return out
}

// systemFiles are what lies in innodb_data_home_dir: the system and the
// temporary tablespace, and the dump of the buffer pool, which is written under
// another name first.
func systemFiles(paths map[string]string) []string {
	out := []string{`ib_buffer_pool`, `ib_buffer_pool\.incomplete`}
	for _, name := range append(dataFiles(paths["innodb_data_file_path"]), dataFiles(paths["innodb_temp_data_file_path"])...) {
		if !strings.ContainsRune(name, '/') {
			out = append(out, regexp.QuoteMeta(name))
		}
	}
	return out
}

// dataFiles are the names in a list such as ibdata1:50M;ibdata2:50M:autoextend.
func dataFiles(list string) []string {
	var out []string
	for file := range strings.SplitSeq(list, ";") {
		if name, _, _ := strings.Cut(file, ":"); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// logs are the files of a binary or relay log and of its index. Of MariaDB's
// binary log .state holds the GTID state; .~rec~ and .index_crash_safe exist
// for moments.
func logs(kind string, paths map[string]string, suffix string) []role {
	base, index := paths[kind+"_basename"], paths[kind+"_index"]
	if base == "" {
		return nil
	}
	if index == "" {
		index = base + ".index"
	}
	name := regexp.QuoteMeta(filepath.Base(base) + suffix)
	ext := filepath.Ext(index)
	stem := regexp.QuoteMeta(strings.TrimSuffix(filepath.Base(index), ext) + suffix)
	return []role{
		{kind + "_basename", filepath.Dir(base), []string{name + numbered, name + `\.state`}, false},
		{kind + "_index", filepath.Dir(index), []string{stem + regexp.QuoteMeta(ext), stem + `\.~rec~`, stem + `\.index_crash_safe`}, false},
	}
}

// moved names a place of the data or the logs that is another now, empty for
// none.
func moved(was, now map[string]string) string {
	for _, name := range []string{"innodb_data_home_dir", "innodb_data_file_path", "innodb_log_group_home_dir", "innodb_undo_directory", "innodb_doublewrite_dir",
		"aria_log_dir_path", "log_bin_basename", "log_bin_index", "relay_log_basename", "relay_log_index", "relay_log_info_file"} {
		if was[name] != now[name] {
			return fmt.Sprintf("%s is %q, it was %q", name, now[name], was[name])
		}
	}
	return ""
}

// fixed refuses a server that has elsewhere what must lie in its datadir, or a
// system tablespace that cannot be told.
func fixed(live string, paths map[string]string) error {
	const info, list = "relay_log_info_file", "innodb_data_file_path"
	if !sameDir(inside(live, filepath.Dir(paths[info])), live) {
		return &datadir.PlaceError{Reason: fmt.Sprintf("%s lies outside the datadir, at %s", info, paths[info])}
	}
	for i, name := range dataFiles(paths[list]) {
		if i == 0 && name != datadir.SystemTablespace || strings.ContainsRune(name, '/') {
			return &datadir.PlaceError{Reason: fmt.Sprintf("%s is %s: its first file must be %s, and none may be at a path of its own", list, paths[list], datadir.SystemTablespace)}
		}
	}
	return hasSystem(service.HomeOf(live, paths))
}

// hasSystem wants the system tablespace where the server says that it is.
func hasSystem(home string) error {
	if info, err := os.Lstat(filepath.Join(home, datadir.SystemTablespace)); err != nil || !info.Mode().IsRegular() {
		return &datadir.PlaceError{Reason: fmt.Sprintf("no file %s in %s", datadir.SystemTablespace, home)}
	}
	return nil
}

// plainChannel is a channel's name that file names hold as it is.
var plainChannel = regexp.MustCompile(`^[a-z0-9_]*$`)

// outside finds the directories outside the datadir that hold some of the
// server's data or logs; the datadir comes first where it is moved like them.
// What cannot be told apart or moved is a *datadir.PlaceError.
func outside(p datadir.Place, paths map[string]string, channel string) ([]datadir.Outside, error) {
	if err := fixed(p.Live.Path, paths); err != nil {
		return nil, err
	}
	var out []datadir.Outside
	if p.Inside() {
		whole, err := datadir.Whole(p)
		if err == nil {
			err = ignored(paths)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, whole)
	}
	for _, r := range roles(paths, channel) {
		dir := inside(p.Live.Path, r.dir)
		if sameDir(dir, p.Live.Path) {
			continue
		}
		if !plainChannel.MatchString(channel) {
			return nil, &datadir.PlaceError{Reason: fmt.Sprintf("%s lies outside the datadir, at %s, and the files of replication channel %q cannot be told there", r.variable, dir, channel)}
		}
		o, err := datadir.FindOutside(p, dir, r.own)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.variable, err)
		}
		if out, err = join(out, o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ignored wants MariaDB to take no directory of resilver's in its datadir for a
// schema: mariadb-upgrade fails at one, and a backup carries it along. MySQL
// has no such variable, and takes no hidden directory for anything.
func ignored(paths map[string]string) error {
	const variable = "ignore_db_dirs"
	names, is := paths[variable]
	if is && !slices.Contains(strings.Split(names, ","), datadir.NameOutside) {
		return &datadir.PlaceError{Reason: fmt.Sprintf("the datadir is a mount point, so that a copy is staged in %s inside it, which this server takes for a schema: add %s=%s to its option file and restart it", datadir.NameOutside, variable, datadir.NameOutside)}
	}
	return nil
}

// join adds a directory, or what is the server's in one that is known.
func join(all []datadir.Outside, o datadir.Outside) ([]datadir.Outside, error) {
	for i := range all {
		switch known := all[i].Dir; {
		case known == o.Dir:
			all[i].Own = append(all[i].Own, o.Own...)
			return all, nil
		case known.Same(o.Dir):
			return nil, &datadir.PlaceError{Reason: fmt.Sprintf("%s and %s are the same directory", known.Path, o.Dir.Path)}
		}
	}
	return append(all, o), nil
}

// inside makes a path of the server's absolute.
func inside(live, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(live, path)
	}
	return filepath.Clean(path)
}

// sameDir says whether both paths lead to one directory, links or not.
func sameDir(a, b string) bool {
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && realA == realB
}

// channelOf is the channel that the server replicates through.
func channelOf(obs watchdog.Observation) string {
	if src := obs.Source(); src != nil {
		return src.Channel
	}
	return ""
}

// rewriteIndex makes the index of the copy's binary log, which MariaDB's
// rehearsal wrote into the flat copy, name its files where they will be: an
// index holds paths, relative to the datadir or absolute.
func rewriteIndex(p datadir.Place, flat datadir.Ref, paths map[string]string) error {
	base, index := paths["log_bin_basename"], paths["log_bin_index"]
	if base == "" || sameDir(filepath.Dir(base), p.Live.Path) {
		return nil
	}
	if index == "" {
		index = base + ".index"
	}
	return datadir.EditFile(flat, filepath.Base(index), func(data []byte) []byte {
		var out bytes.Buffer
		for line := range bytes.Lines(data) {
			if name := strings.TrimSpace(string(line)); name != "" {
				out.WriteString(filepath.Join(filepath.Dir(base), filepath.Base(name)) + "\n")
			}
		}
		return out.Bytes()
	})
}
