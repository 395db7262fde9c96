package replica

import (
	"strings"

	"resilver/watchdog"
)

// Reissuable is what of set, transactions that a copy lacks, the server could
// number other transactions by, once it has that copy and writes under the
// identity that it has now.
//
// MySQL numbers them by server_uuid, so it is all that is under this one: it
// must get another. MariaDB numbers on from the largest of a domain, so it is
// its own that are larger than any that the copy has in their domain.
func Reissuable(set, copied string, self watchdog.Observation) (string, error) {
	if self.Flavor == flavorMariaDB {
		return two(set, copied, func(a, b gtids) gtids {
			out := gtids{}
			for w, n := range a {
				if until, _ := b.until(w.domain); w.server == self.ServerID && n > until {
					out[w] = n
				}
			}
			return out
		})
	}
	set = oneLine(set)
	if err := (mySQL{}).wholeSet(set); err != nil {
		return "", err
	}
	var out []string
	for one := range strings.SplitSeq(set, ",") {
		if source, _, _ := strings.Cut(one, ":"); strings.EqualFold(source, self.ServerUUID) && source != "" {
			out = append(out, one)
		}
	}
	return strings.Join(out, ","), nil
}
