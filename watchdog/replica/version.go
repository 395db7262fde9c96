package replica

import (
	"fmt"
	"strconv"
	"strings"
)

// The flavours, as watchdog.Observation names them. MariaDB is recognised,
// and refused, until its statements are known here.
const (
	flavorMySQL   = "mysql"
	flavorMariaDB = "mariadb"
)

// version is what a server says it is.
type version struct {
	flavor string
	text   string // as the server writes it
	number int    // 9.7.4 is 90704
	dialect
}

// dialect holds the statements and words that differ between the supported
// servers. Everything else is the same in all of them.
type dialect struct {
	resetGTIDs    string // removes all binary logs and the executed set
	disableOnPeer string // the end of ALTER EVENT that leaves an event to the source
	hasGTIDOnly   bool   // CHANGE REPLICATION SOURCE knows GTID_ONLY
}

// dialectOf selects the statements by flavour and version number. Each is
// from the manual of its version; tried on a real server is 9.7.
func dialectOf(flavor string, number int) (dialect, error) {
	if flavor != flavorMySQL || number < 80023 || number >= 100000 {
		return dialect{}, ErrVersion
	}
	d := dialect{
		resetGTIDs:    "RESET MASTER",     // gone in 8.4
		disableOnPeer: "DISABLE ON SLAVE", // ON REPLICA is newer than 8.0
		hasGTIDOnly:   number >= 80027,
	}
	if number >= 80400 {
		d.resetGTIDs, d.disableOnPeer = "RESET BINARY LOGS AND GTIDS", "DISABLE ON REPLICA"
	}
	return d, nil
}

// parseVersion reads VERSION() and @@version_comment.
func parseVersion(text, comment string) (version, error) {
	v := version{flavor: flavorMySQL, text: text}
	if strings.Contains(strings.ToLower(text+" "+comment), flavorMariaDB) {
		v.flavor = flavorMariaDB
	}
	number, _, _ := strings.Cut(text, "-")
	number, _, _ = strings.Cut(number, "+")
	parts := strings.Split(number, ".")
	if len(parts) != 3 {
		return v, fmt.Errorf("read version %q: %w", text, ErrVersion)
	}
	for _, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 || n > 99 {
			return v, fmt.Errorf("read version %q: %w", text, ErrVersion)
		}
		v.number = v.number*100 + n
	}
	d, err := dialectOf(v.flavor, v.number)
	if err != nil {
		return v, fmt.Errorf("%w: %s %s, wanted MySQL from 8.0.23 to 9", err, v.flavor, text)
	}
	v.dialect = d
	return v, nil
}
