package watchdog

// Trouble is why an observation could not be made. Only a server that is down
// is unreachable; every other trouble leaves its state unknown.
type Trouble string

// The troubles.
const (
	TroubleNone   Trouble = ""
	TroubleDown   Trouble = "down"   // nothing listens, or the connection broke
	TroubleHung   Trouble = "hung"   // a statement did not end in time
	TroubleDenied Trouble = "denied" // the watchdog's own account was refused
	TroubleOther  Trouble = "other"
)
