package healing

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"resilver/healing/archive"
	"resilver/healing/datadir"
	"resilver/watchdog/replica"
)

// reissues holds what was archived against the rehearsed copy.
func (r *rebuild) reissues(set string) error {
	if err := archive.Reissued(set, r.j.Executed, r.facts.Self); err != nil {
		return fmt.Errorf("%w: guard errant: %w", errCancelled, err)
	}
	return nil
}

// identityAfter gives the rebuilt server another server_uuid where its own
// numbers would be given twice; MariaDB has none, and it is refused.
func (r *rebuild) identityAfter(set string, t archive.Trail) error {
	copied := r.j.Executed
	if copied == "" {
		copied = t.Primary.Executed
	}
	again, err := replica.Reissuable(set, copied, t.Self)
	if err != nil || again == "" {
		return err
	}
	if t.Self.Flavor == "mariadb" {
		return archive.Reissued(set, copied, t.Self)
	}
	return r.renew()
}

// renew chooses another server_uuid, once for all, and writes it into the copy
// where that is there already.
func (r *rebuild) renew() error {
	if r.fitness.Flavor == "mariadb" || r.j.NewUUID != "" {
		return r.writeUUID()
	}
	uuid, err := newUUID()
	if err == nil {
		err = r.note(func(j *Journal) { j.NewUUID = uuid })
	}
	if err != nil {
		return err
	}
	r.log.Info("the rebuilt server gets another server_uuid", "was", r.j.UUID, "server_uuid", uuid)
	return r.writeUUID()
}

// writeUUID puts a new server_uuid into the copy, in the place of the one that
// it got from the live datadir.
func (r *rebuild) writeUUID() error {
	if r.j.NewUUID == "" || r.j.Staged.Ino == 0 {
		return nil
	}
	written := false
	err := datadir.EditFile(r.j.Staged, autoCnf, func([]byte) []byte {
		written = true
		return autoText(r.j.NewUUID)
	})
	if err == nil && !written {
		err = errors.New("the copy has no auto.cnf to write a new server_uuid to")
	}
	if whole := r.j.whole(); err == nil && whole != nil && len(whole.New) > 0 {
		// The copy's entries are known by their inodes already.
		all := slices.Clone(r.j.Outside)
		if err = all[0].Reread(autoCnf); err == nil {
			err = r.note(func(j *Journal) { j.Outside = all })
		}
	}
	return err
}

// uuid is the server_uuid of the rebuilt server.
func (j *Journal) uuid() string {
	if j.NewUUID != "" {
		return j.NewUUID
	}
	return j.UUID
}

// autoCnf is where MySQL has its server_uuid.
const autoCnf = "auto.cnf"

func autoText(uuid string) []byte { return []byte("[auto]\nserver-uuid=" + uuid + "\n") }

// newUUID is a random one (RFC 9562, version 4).
func newUUID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
