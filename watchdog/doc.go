// Package watchdog holds the words of resilver and its judgement: what was
// observed of one replica, what that means (Diagnose), and what is to be done
// about it (Decide). Both are pure: values in, value out, no I/O and no clock
// but the now they are given. The loop that feeds them is here too.
//
// It speaks no SQL, opens no socket and touches no file; the small interfaces
// it declares are satisfied by watchdog/replica, gossip, gossip/lease and
// healing, which only the composition root brings together.
package watchdog
