package archive

import (
	"strings"

	"resilver/watchdog"
)

// Manifest says what an archive holds.
type Manifest struct {
	Version       int            `json:"version"`
	Rebuild       string         `json:"rebuild"`
	Node          string         `json:"node"`
	Flavor        string         `json:"flavor"`
	ServerVersion string         `json:"server_version"`
	ServerUUID    string         `json:"server_uuid"`
	ServerID      uint32         `json:"server_id"`
	Time          watchdog.Stamp `json:"time"`
	GTIDs         string         `json:"gtids"`
	Transactions  int            `json:"transactions"`
	Bytes         int64          `json:"bytes"`
	Files         []File         `json:"files"` // in the order in which they are replayed
	Replay        []string       `json:"replay"`
	// Objects were made by SQL on this node alone; how is in objects.sql. Their
	// rows are in the old datadir.
	Objects []string `json:"objects,omitempty"`
}

// ManifestName is its file.
const ManifestName = "manifest.json"

// File is one log of an archive.
type File struct {
	Name         string    `json:"name"`
	GTIDs        string    `json:"gtids"`
	Transactions int       `json:"transactions"`
	Bytes        int64     `json:"bytes"`
	SHA256       string    `json:"sha256"`
	Sources      []Stretch `json:"sources"`
}

// Stretch is where in the server's own logs events were.
type Stretch struct {
	File string `json:"file"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// replayed are the commands that replay an archive, run in its directory. The
// first makes new transactions of it, as for the primary; the second, on MySQL,
// keeps their ids. The tool is run for each file: only at its end it leaves the
// last id. MariaDB's cannot keep them: a table that is created with its rows
// takes two.
func replayed(m Manifest) []string {
	each, same := []string{}, []string{}
	for _, f := range m.Files {
		if m.Flavor == "mariadb" {
			each = append(each, "mariadb-binlog "+f.Name+" | sed -E '/@@session.(gtid_seq_no|server_id)=/d'")
			continue
		}
		each, same = append(each, "mysqlbinlog --skip-gtids "+f.Name), append(same, "mysqlbinlog "+f.Name)
	}
	if len(each) == 0 {
		return each
	}
	if m.Flavor == "mariadb" {
		return []string{piped(each, "mariadb --binary-mode")}
	}
	return []string{piped(each, "mysql --binary-mode"), piped(same, "mysql --binary-mode")}
}

func piped(list []string, into string) string {
	return "{ " + strings.Join(list, " && ") + "; } | " + into
}
