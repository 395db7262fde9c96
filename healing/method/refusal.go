package method

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"resilver/healing/private"
)

// StallError is a copy in which nothing moved for too long.
type StallError struct {
	After time.Duration
	Line  error // why the line to the donor was lost last, nil where it stands
}

func (e *StallError) Error() string {
	text := fmt.Sprintf("the copy stalled: not a byte for %s", e.After)
	if e.Line != nil {
		text += ": " + e.Line.Error()
	}
	return text
}

func (e *StallError) Unwrap() error { return e.Line }

// Error numbers of MySQL 9.7 (perror).
const (
	erAccessDenied   = 1045
	erNoPrivilege    = 1227
	erPluginMissing  = 1524
	erWrongValue     = 1525
	erNetRead        = 1158
	erAuthSocket     = 1698
	erTooManyClones  = 3634
	erCloneDonor     = 3862
	erClonePlugin    = 3870
	erCloneConfig    = 3868
	erCloneCollation = 3867
	erCloneVersion   = 3864
	erCloneSystem    = 3869
	erCloneRunning   = 3874
)

// donorError is how the recipient quotes the donor's own error:
// "Clone Donor Error: 3634 : Too many …", or "… Error: Connect failed: 1698 :
// Access denied …".
var donorError = regexp.MustCompile(`Clone Donor Error: (?:[A-Za-z ]+: )?(\d+) ?: ?(.*)`)

// cause is the number and text of a clone's error, the donor's own where the
// server quotes it.
func cause(err error) (int, string) {
	var own *mysql.MySQLError
	if !errors.As(err, &own) {
		return 0, ""
	}
	number, text := int(own.Number), own.Message
	if m := donorError.FindStringSubmatch(text); number == erCloneDonor && m != nil {
		if _, err := fmt.Sscan(m[1], &number); err == nil {
			text = m[2]
		}
	}
	return number, strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ".")
}

// isBusy says that the donor serves another clone: it allows one.
func isBusy(err error) bool {
	number, _ := cause(err)
	return number == erTooManyClones || number == erCloneRunning
}

// configError is the server's text of ER_CLONE_CONFIG.
var configError = regexp.MustCompile(`Clone Configuration ([a-z_]+): Donor value: ([A-Za-z0-9_]+) is different from Recipient value`)

// teachable are the settings that a scratch server can be given to be like
// the donor: they change nothing in the copy. (MySQL manual, "Cloning Remote
// Data", names what must be alike.)
var teachable = []string{"character_set_server", "collation_server", "character_set_filesystem", "innodb_page_size"}

// learn takes the donor's value of a setting out of a refusal. False: there
// is nothing to learn, or it was learned already and did not help.
func (r *cloning) learn(err error) bool {
	_, text := cause(err)
	m := configError.FindStringSubmatch(text)
	if m == nil || !slices.Contains(teachable, m[1]) || r.settings[m[1]] == m[2] || len(r.settings) >= maxSettings {
		return false
	}
	r.settings = maps.Clone(r.settings)
	r.settings[m[1]] = m[2]
	return true
}

// explain says in one line what to do about a refusal.
func (r *cloning) explain(err error) error {
	number, text := cause(err)
	account := r.c.o.Account + "@localhost"
	hint := ""
	switch number {
	case erAccessDenied, erAuthSocket:
		hint = fmt.Sprintf("the donor refuses %s: it must be identified by auth_socket as the donor's donor.os_user (see resilver grants)", account)
	case erNoPrivilege:
		hint = fmt.Sprintf("%s lacks BACKUP_ADMIN at the donor (see resilver grants)", account)
	case erPluginMissing:
		hint = "the donor lacks a plugin: plugin_load_add=mysql_clone.so and auth_socket.so belong into its option file"
	case erWrongValue: // of a path: the scratch server knows the covers alone
		hint = "the donor has a tablespace at a path of its own that was not known when the rebuild began"
	case erClonePlugin:
		hint = "the donor has a plugin that this server's plugin_dir does not have"
	case erCloneConfig, erCloneCollation, erCloneVersion, erCloneSystem:
		hint = "donor and recipient do not match"
	case erNetRead:
		if line := r.relay.Err(); line != nil {
			return fmt.Errorf("the line to the donor was lost: %w (%w)", line, err)
		}
		hint = "the line to the donor was lost"
	}
	if hint == "" {
		return err
	}
	return &RefusedError{Errno: number, Hint: hint, Text: text, Err: err}
}

// RefusedError is a clone that the donor, or the server that clones, refused.
type RefusedError struct {
	Errno int    // the donor's own where it is quoted
	Hint  string // what is wrong and what to do
	Text  string // the server's words
	Err   error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: error %d: %s", e.Hint, e.Errno, e.Text)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// complete checks the marks that CLONE leaves in a directory: one of a clone
// in progress, or none at all, is no copy.
func complete(staging string) error {
	dir, err := private.OpenArea(staging)
	if err != nil {
		return fmt.Errorf("check the copy: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if _, err := dir.Lstat(filepath.Join("#clone", "#status_in_progress")); !errors.Is(err, os.ErrNotExist) {
		return errors.New("check the copy: it is marked as unfinished")
	}
	for _, name := range []string{filepath.Join("#clone", "#status_fix"), "ibdata1", "mysql.ibd"} {
		info, err := dir.Lstat(name)
		if err != nil {
			return fmt.Errorf("check the copy: %w", err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("check the copy: %s is not a file", name)
		}
	}
	return nil
}
