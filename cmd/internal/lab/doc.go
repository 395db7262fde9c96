// Package lab runs real clusters on this machine: mysqlds on addresses of
// 127.0.0.0/8 with a sidecar each, faults injected for real, a steady load
// that remembers what was acknowledged, and a check that nothing of it was
// lost. It serves cmd/resilver-lab and the end-to-end tests.
//
// It simulates nothing, reaches no host but this one (and apt's registry, to
// get a server where none is installed), and is no part of the daemon.
package lab
