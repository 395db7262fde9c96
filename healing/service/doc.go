// Package service finds, ends and starts the mysqld of this node. A process is
// identified by at least two of pid file, socket credentials and lock on the
// datadir, never by its name, and ended through a pidfd, so that no other
// process can be hit. It knows three managers: resilver's own supervisor
// (Supervised is the client, Supervisor the process that owns mysqld as its
// child), systemd, reached over D-Bus (Systemd), and foreign ones that are
// driven by commands (Command).
//
// It speaks no SQL, does not decide when a server may be ended, and touches
// no datadir; of files it removes only a dead server's socket with its lock.
package service
