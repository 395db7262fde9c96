package healing

import (
	"fmt"
	"path/filepath"
	"strings"
)

// inDatadir are the variables of MySQL that name what must lie in the datadir
// to be exchanged with it: data, redo, undo, binary and relay logs.
var inDatadir = []string{
	"innodb_data_home_dir", "innodb_undo_directory", "innodb_log_group_home_dir", "innodb_doublewrite_dir",
	"log_bin_basename", "log_bin_index", "relay_log_basename", "relay_log_index",
}

// elsewhere says what of the server's data lies outside its datadir, empty
// for nothing. Such layouts are not rebuilt: the exchange of one directory
// would leave old files beside new data.
func elsewhere(datadir string, paths map[string]string) string {
	root := filepath.Clean(datadir)
	for _, name := range inDatadir {
		path := paths[name]
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(root, path)
		}
		if path = filepath.Clean(path); path != root && !strings.HasPrefix(path, root+"/") {
			return fmt.Sprintf("%s lies outside the datadir, at %s", name, path)
		}
	}
	return ""
}
