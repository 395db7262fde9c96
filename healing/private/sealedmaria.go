package private

import "regexp"

// mariaSealed are what every private MariaDB gets, as sealedOptions for MySQL.
func mariaSealed() []string {
	return []string{
		"--skip-networking", "--event-scheduler=OFF", "--skip-slave-start", "--init-connect=", "--log-tc=tc.log",
		"--innodb-read-only=OFF",
		"--loose-rpl-semi-sync-master-enabled=OFF", "--loose-rpl-semi-sync-slave-enabled=OFF",
		"--loose-wsrep-on=OFF", "--loose-wsrep-provider=none", "--loose-feedback=OFF", "--loose-server-audit-logging=OFF",
		"--general-log=OFF", "--slow-query-log=OFF", "--log-output=FILE",
		"--large-pages=OFF", "--memlock=OFF",
		"--innodb-buffer-pool-load-at-startup=OFF", "--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-fast-shutdown=1", "--innodb-force-recovery=0",
	}
}

// mariaRehearsal makes the rehearsal small. No option but the pool's size
// changed its time (10.11).
func mariaRehearsal() []string {
	return []string{
		"--innodb-buffer-pool-size=134217728", "--key-buffer-size=16384", "--aria-pagecache-buffer-size=8388608",
		"--innodb-doublewrite=OFF", "--performance-schema=OFF", "--max-connections=20",
	}
}

// preparedText is what MariaDB says where transactions were left prepared
// (MDEV-36025: every copy of a replica with the optimistic parallel applier).
var preparedText = regexp.MustCompile(`Found \d+ prepared transactions!.*--tc-heuristic-recover`)

func hasPrepared(log string) bool { return preparedText.MatchString(log) }
