// Package binlog reads from binary and relay logs at rest which transactions
// they hold, for a server that cannot be asked because it is dead. It takes
// the word of the engine's own tool, mysqlbinlog or mariadb-binlog, and checks
// by itself that the tool has read to the end of the file and named as many
// transactions as there are: MariaDB's returns 0 at a corrupt event and leaves
// the rest out, and MySQL's takes a length gone wrong for the end (both tried).
//
// A file that is encrypted, corrupt or missing is an error, never an empty
// set. The one thing that is tolerated is what a crash leaves: the first part
// of an event at the very end of the last file. Nothing is written, and no set
// is compared here.
package binlog
