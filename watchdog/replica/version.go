package replica

import (
	"fmt"
	"strconv"
	"strings"
)

// The flavours, as watchdog.Observation names them.
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

// dialectOf selects the dialect by flavour and version number. What it knows
// is from the manuals of the versions; tried on real servers are MySQL 9.7 and
// MariaDB 10.11. MariaDB 12 has another read_only, with more than two values.
func dialectOf(flavor string, number int) (dialect, error) {
	switch {
	case flavor == flavorMySQL && number >= 80023 && number < 100000:
		return newMySQL(number), nil
	case flavor == flavorMariaDB && number >= 100600 && number < 120000:
		return mariaDB{}, nil
	}
	return nil, ErrVersion
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
		return v, fmt.Errorf("%w: %s %s, wanted MySQL from 8.0.23 to 9 or MariaDB from 10.6 to 11", err, v.flavor, text)
	}
	v.dialect = d
	return v, nil
}
