package watchdog

import "time"

// Facts is what must be asked for before a rebuild: gossip is too old and too
// short for it. A nil Facts leaves the guards that need them out of a first,
// cheap look; what was not asked, or not answered, is unknown.
type Facts struct {
	// Self is this node's server as it answered, or, where Down is set, as it
	// was last seen.
	Self       Observation
	Down       *Down
	Primary    *PeerState // the primary's own answer
	PrimaryErr string
	Errant     Answer // GTIDs of this node that the primary does not have
	Archive    Answer // why these cannot be archived; asked only where the policy is to
	Local      Local  // what was made by SQL here alone
	Aside      Aside  // what a rollback would go back to; asked for one alone
	Wipe       Wipe   // asked for a rebuild that wipes first alone
	Free       int64  // bytes free where the copy goes
	Need       int64  // bytes that must be free: the donor's data and the reserve
	SpaceAt    string // " in " that place, where it is not beside the datadir
	SpaceErr   string
	Staging    Answer // why the copy cannot be exchanged with the datadir
	Closed     Answer // why the rebuilt server would not come up closed to writers
	Service    Answer // why mysqld could not be stopped and started
	Account    Answer // why the rebuilt server could not log in at its source
	Encrypted  Answer // what is encrypted, and so cannot be carried
	Engines    Answer // tables that the method would bring over empty
	Donors     []DonorFacts
	DataBytes  int64 // estimate of the copy, 0: unknown
	MethodWhy  map[string]string
	Methods    []string // those that fit, in the configured order
}

// Local are objects that were made on this node alone, as with sql_log_bin=0,
// or that the primary has dropped since this node is broken: which of both
// cannot be told.
type Local struct {
	Objects []string
	Err     string // why it is not known; the zero Local was never asked
	Asked   bool
}

// Answer is the outcome of a question that may have stayed open. Text is the
// obstacle found, empty for none; Err says why it is not known. The zero
// Answer is a question that was never asked.
type Answer struct {
	Asked bool
	Text  string
	Err   string
}

// AnswerOf is an obstacle, or that there is none, or why it is not known.
func AnswerOf(obstacle string, err error) Answer {
	if err != nil {
		return Answer{Asked: true, Err: err.Error()}
	}
	return Answer{Asked: true, Text: obstacle}
}

// Open says why the answer is not known, empty where it is.
func (a Answer) Open() string {
	if !a.Asked && a.Err == "" {
		return "not asked"
	}
	return a.Err
}

// Down is a server that does not answer.
type Down struct {
	Since time.Time // when it last answered; zero: never to this sidecar
	// Dead is why it may not be taken for dead, or why too little is known of
	// what it was. Where it is neither, the facts are those of a dead server,
	// from what was seen of it and from its files.
	Dead Answer
	// Untold says that its manager cannot tell a server that died from one
	// that a person stopped.
	Untold bool
}

// known says that there are facts of this node's own server.
func (f *Facts) known() bool {
	return f.Down == nil || f.Down.Dead.Open() == "" && f.Down.Dead.Text == ""
}

// DonorFacts is what a candidate answered.
type DonorFacts struct {
	Node    string
	State   *PeerState
	Err     string
	Missing Answer // what this node needs of the primary's past and the candidate lacks
	Errant  Answer // what the candidate has and the primary lacks
	Purged  Answer // what the primary has purged and the candidate lacks
}
