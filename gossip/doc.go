// Package gossip knows which sidecars are alive and what each last said of its
// node. Reports travel as memberlist broadcasts that every receiver passes on,
// and as a whole in each full exchange between two members, as repair.
//
// Everything here is a hint: members share a key and are not told apart, and a
// report is as old as the way it took. Nothing that destroys data rests on it.
package gossip
