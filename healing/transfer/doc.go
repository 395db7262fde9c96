// Package transfer is both ends of a byte stream between a donor and the
// recipient. A tunnel leads to the donor's mysqld: the donor's end checks the
// lease's token for as long as bytes flow and dials mysqld's socket without
// rights of its own; the recipient's end is a loopback port that only one
// system user can reach. A framed stream carries what a backup tool writes,
// and proves its own end.
//
// It knows neither the lease nor the network between the nodes, nor what
// produces a stream: all are functions it is given.
package transfer
