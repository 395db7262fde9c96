// Package datadir is the only place that moves, removes or changes the owner
// of directories of data: it inspects the live datadir, lays out the staging
// area beside it, exchanges both atomically, keeps the old one in quarantine,
// and knows who has a datadir open.
//
// Every directory is named by path, device and inode (Ref), opened without
// following a symbolic link in any component, and nothing is removed by
// pattern, outside the staging area, or when its inode is not the one that
// was asked for. The package starts and stops no server and does not decide
// when to do any of this; the journal of package healing does.
//
// A datadir is one directory with nothing mounted inside it; where a symbolic
// link leads to it the link stays. What the server has elsewhere is moved entry
// by entry (Outside), and so is a datadir that is itself a mount point (Whole),
// with the staging area in it.
package datadir
