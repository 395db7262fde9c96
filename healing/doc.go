// Package healing carries out what watchdog decided: the twelve steps of a
// rebuild, each written to the journal before it begins and after it ended,
// so that a sidecar that dies anywhere finds the way on; and the way back
// from each of them. Until swap the live datadir is not touched; from stop to
// start the start guard keeps mysqld down.
//
// It decides nothing: why a rebuild is due is watchdog's judgement, and
// whether this node may is the lease's. How a copy is made is healing/method,
// how a private server is sealed is healing/private, how directories are
// exchanged is healing/datadir, how mysqld is ended and started is
// healing/service.
package healing
