// Package private runs a sealed mysqld that nobody else can see: a scratch
// server that fetches a copy, and the rehearsal, in which a staged copy is
// booted once with the real options before it is trusted.
//
// Sealed means: it runs as the datadir's owner, listens on one unix socket in
// a directory that only this owner enters, and every path it could write to
// points into its own directories. It never sees a path of the live server.
// It dies with the process that started it, and where it could not (a mysqld
// with file capabilities outlives its parent), a record lets the next process
// find and end it.
//
// The package neither stops nor starts the live server, and moves no data
// into its place.
package private
