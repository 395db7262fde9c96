// Package peer is the one TLS port between the sidecars: the cluster's own
// certificates, the names in them, and what each connection is for (ALPN tells
// raft from the peer API). It is also the client of that port.
//
// It does not decide anything: which token is in force, what a node's state
// is, and what travels through a tunnel is said by the functions it is given.
package peer
