// Package replica is one mysqld, seen through its unix socket: the only place
// that speaks SQL. One method per intent: observe it, compare GTID sets,
// control its replication threads, read its source configuration and set it
// up again, close it to clients and open it, and have it clone from a donor.
//
// Server speaks to MySQL and to MariaDB. Which one it is, each session asks
// when it begins; all that differs is behind dialect, one type for each. What a
// caller must know of the differences is at the methods: MariaDB has no
// server_uuid, no super_read_only, no offline_mode and no mysqld-auto.cnf, its
// GTID sets are of another kind, and it tells nobody the source's password.
//
// It judges nothing (that is package watchdog), starts and stops no process,
// and touches no file. Nothing it does is written to the server's binary log:
// each of its sessions runs with sql_log_bin=0.
//
// Every statement has a deadline. One that does not end by then is reported
// as ErrHung and killed in the server; until it has really ended it keeps its
// place among the few sessions, so that a hanging server is never stormed.
package replica
