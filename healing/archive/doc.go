// Package archive keeps what exists only on one node before its data is set
// aside: it finds the transactions in the server's own binary and relay logs,
// writes them down as logs that the engine's tool replays, and proves by that
// tool that none is missing. What it cannot prove it refuses.
//
// It asks servers for nothing but GTID arithmetic, and touches no log.
package archive
