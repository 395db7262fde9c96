package private

// sealedOptions are what every private MySQL gets, whatever its option files
// say: it listens to nobody but its socket, starts nothing by itself, and is
// small. Tried on MySQL 9.7.4.
func sealedOptions() []string {
	return []string{
		"--skip-networking", "--loose-mysqlx=OFF",
		"--event-scheduler=OFF", "--skip-replica-start", "--init-connect=", "--skip-log-bin",
		"--daemonize=OFF", "--initialize=OFF", "--initialize-insecure=OFF", "--log-tc=tc.log",
		"--read-only=OFF", "--super-read-only=OFF", "--offline-mode=OFF", "--innodb-read-only=OFF",
		"--loose-rpl-semi-sync-source-enabled=OFF", "--loose-rpl-semi-sync-replica-enabled=OFF",
		"--loose-group-replication-start-on-boot=OFF",
		"--general-log=OFF", "--slow-query-log=OFF", "--log-output=FILE",
		"--log-error-services=log_filter_internal; log_sink_internal", "--log-error-suppression-list=",
		"--log-error-verbosity=2",
		"--large-pages=OFF", "--memlock=OFF", "--innodb-dedicated-server=OFF",
		"--innodb-buffer-pool-load-at-startup=OFF", "--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--auto-generate-certs=OFF", "--caching-sha2-password-auto-generate-rsa-keys=OFF",
		"--innodb-fast-shutdown=1", "--innodb-force-recovery=0",
	}
}

// rehearsalOptions make the rehearsal small and quick. Doublewrite is off: a
// rehearsal that crashes is thrown away.
func rehearsalOptions() []string {
	return []string{
		"--innodb-buffer-pool-size=134217728", "--innodb-buffer-pool-chunk-size=134217728",
		"--innodb-buffer-pool-instances=1", "--key-buffer-size=8", "--innodb-doublewrite=OFF",
		"--performance-schema=OFF", "--max-connections=20",
	}
}

// scratchOptions are the smallest server that can clone: 160 MB and 0.7 s to
// boot, with the performance schema's clone tables and nothing else of it.
func scratchOptions() []string {
	out := []string{
		"--plugin-load-add=mysql_clone.so", "--secure-file-priv=NULL",
		"--innodb-buffer-pool-size=5M", "--innodb-log-buffer-size=1M", "--innodb-redo-log-capacity=8M",
		"--innodb-doublewrite=OFF", "--innodb-read-io-threads=1", "--innodb-write-io-threads=1",
		"--innodb-purge-threads=1", "--innodb-page-cleaners=1",
		"--table-open-cache=16", "--table-definition-cache=400", "--max-connections=10",
		"--thread-cache-size=0", "--key-buffer-size=8",
		"--performance-schema=ON", "--performance-schema-instrument=memory/%=OFF",
		"--performance-schema-instrument=wait/io/file/%=OFF",
	}
	for _, name := range []string{
		"accounts-size", "digests-size", "events-stages-history-long-size", "events-stages-history-size",
		"events-statements-history-long-size", "events-statements-history-size",
		"events-transactions-history-long-size", "events-transactions-history-size",
		"events-waits-history-long-size", "events-waits-history-size", "hosts-size", "users-size",
		"max-cond-instances", "max-file-instances", "max-index-stat", "max-metadata-locks",
		"max-mutex-instances", "max-prepared-statements-instances", "max-program-instances",
		"max-rwlock-instances", "max-socket-instances", "max-table-handles", "max-table-instances",
		"max-table-lock-stat", "session-connect-attrs-size",
	} {
		out = append(out, "--performance-schema-"+name+"=0")
	}
	return append(out, "--performance-schema-max-file-handles=64", "--performance-schema-max-thread-instances=64")
}
