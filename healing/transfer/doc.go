// Package transfer is both ends of a byte stream between a donor's mysqld and
// the recipient: the donor's end checks the lease's token for as long as bytes
// flow and dials mysqld's socket without rights of its own; the recipient's
// end is a loopback port that only one system user can reach.
//
// It knows neither the lease nor the network between the nodes: both are
// functions it is given.
package transfer
