// Package lease is the cluster-wide right to rebuild, kept in a raft group of
// all sidecars. It holds the lease with its fencing token, the history and
// budgets of rebuilds, pauses and the breaker, forms the group, and keeps its
// membership.
//
// Only a committed entry of the log gives authority: raft's own State and
// VerifyLeader, and gossip, are hints. The machine that the log drives is pure
// and reads no clock. The holder's authority ends by the holder's own clock,
// counted from before its request was first sent; the leader expires a lease
// only a full time to live, and the clocks' drift, after this node itself
// applied its last renewal. So two holders never overlap, whoever leads.
//
// It knows nothing of MySQL, decides nothing about rebuilding, and listens on
// no port: connections, remote calls and the list of members are given to it.
package lease
