package healing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// Last is what the sidecar knew of its server when it last answered: all there
// is to go by once it is dead. It holds no secret.
type Last struct {
	Datadir string `json:"datadir"`
	Inode   uint64 `json:"inode"` // of the datadir
	// Observation is the last one. Its sets are a lower bound: the server went
	// on after it, and its logs tell how far.
	Observation watchdog.Observation `json:"observation"`
	Role        watchdog.Role        `json:"role"`
	// ReadOnlySince is since when every look found the server read-only, with
	// no longer pause between two of them than a few probes; absent: it was
	// writable at the last one.
	ReadOnlySince watchdog.Stamp `json:"read_only_since"`

	// Read more rarely than the observation; absent where that did not succeed.
	Paths   map[string]string     `json:"paths"`   // variables that name places on disk
	Program service.Program       `json:"program"` // how it was run
	Source  *replica.SourceConfig `json:"source"`  // of its one channel, without the password
	// OurNetwork says that the server ran in this sidecar's network namespace;
	// false where it did not, or where that is not known, as in files of older
	// versions.
	OurNetwork bool `json:"our_network"`
	// Opens is why the next start would not be read-only, empty for nothing.
	Opens  string         `json:"opens"`
	ReadAt watchdog.Stamp `json:"read_at"` // when these were read; absent: never
	// Scattered are tablespaces at paths of their own, a slow question; nil
	// where they were never read.
	Scattered   []string       `json:"scattered"`
	ScatteredAt watchdog.Stamp `json:"scattered_at"`

	bare bool // it was wiped, and holds nothing
}

func lastPath(stateDir string) string { return filepath.Join(stateDir, "last.json") }

// save replaces what was kept.
func (l *Last) save(stateDir string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("keep what is known of the server: %w", err)
	}
	return saveFile(lastPath(stateDir), append(b, '\n'))
}

// LoadLast returns what was last known, the zero Last where nothing is.
func LoadLast(stateDir string) (Last, error) {
	var l Last
	b, err := os.ReadFile(lastPath(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		return Last{}, fmt.Errorf("read what was last known of the server: %w", err)
	}
	return l, nil
}

// seen takes a look at the server in; pause is the longest between two looks
// that still counts as without interruption.
func (l *Last) seen(obs watchdog.Observation, role watchdog.Role, inode uint64, pause time.Duration) {
	switch {
	case !obs.ReadOnly:
		l.ReadOnlySince = watchdog.Stamp{}
	case l.ReadOnlySince.IsZero() || obs.At.Sub(l.Observation.At) > pause:
		l.ReadOnlySince = watchdog.StampOf(obs.At)
	}
	if obs.ServerUUID == l.Observation.ServerUUID && obs.StartedAt.Sub(l.Observation.StartedAt).Abs() < startPrecision {
		obs.StartedAt = l.Observation.StartedAt
	} else {
		l.ReadAt, l.ScatteredAt = watchdog.Stamp{}, watchdog.Stamp{} // another start of the server, or another server
	}
	l.Datadir, l.Inode, l.Observation, l.Role = filepath.Clean(obs.Datadir), inode, obs, role
}

// startPrecision is how far apart two readings of one server's start may be:
// it is told by an uptime in whole seconds.
const startPrecision = 3 * time.Second

// steady is what of it is written down as soon as it changes: all but what
// moves with every transaction and every look.
func (l Last) steady() string {
	o := &l.Observation
	o.At, o.Executed, o.Purged, o.Replicated, o.SemiSync, o.Bytes = time.Time{}, "", "", "", watchdog.SemiSync{}, 0
	sources := make([]watchdog.SourceStatus, len(o.Sources))
	for i, src := range o.Sources {
		sources[i] = watchdog.SourceStatus{Channel: src.Channel, Host: src.Host, Port: src.Port, User: src.User, UUID: src.UUID,
			Delay: src.Delay, AutoPosition: src.AutoPosition, Filters: src.Filters}
	}
	o.Sources, l.ReadAt = sources, watchdog.Stamp{}
	return text(l)
}

// sets is what moves with transactions.
func (l Last) sets() string {
	moving := []string{l.Observation.Executed}
	for _, src := range l.Observation.Sources {
		moving = append(moving, src.Retrieved, src.Applier.GTID)
	}
	return text(moving)
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
