// Package secret holds a password so that it cannot be printed by mistake: in
// every format, log line, error and encoding it is three stars. It reads
// secrets from files that only their owner may read.
//
// It does not encrypt, and it does not wipe memory: it guards against leaks by
// carelessness, not against somebody who reads this process.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
)

// hidden stands for every secret wherever one is printed.
const hidden = "***"

// maxFile bounds what is read from a secret file, in bytes.
const maxFile = 64 << 10

// ErrExposed means that a secret file can be read or changed by others than
// its owner.
var ErrExposed = errors.New("secret file is open to others")

// Secret is text that never prints itself. The zero Secret is empty.
type Secret struct{ text string }

// New returns text as a Secret.
func New(text string) Secret { return Secret{text: text} }

// Reveal returns the text itself: only for the call that needs it.
func (s Secret) Reveal() string { return s.text }

// IsZero says that there is no secret.
func (s Secret) IsZero() bool { return s.text == "" }

func (Secret) String() string { return hidden }

// GoString hides the text from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the text from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalJSON hides the text from JSON.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText hides the text from every text encoding, YAML included.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the text from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// FromFile reads the secret in the file at path, without one newline at its
// end. It refuses a file that is not a regular one, that is empty, or that
// group or others may read, write or execute (ErrExposed).
func FromFile(path string) (Secret, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return Secret{}, fmt.Errorf("read secret file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Secret{}, fmt.Errorf("read secret file: %w", err)
	}
	if err := check(path, info); err != nil {
		return Secret{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Secret{}, fmt.Errorf("read secret file: %w", err)
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.TrimSuffix(data, []byte("\r"))
	if len(data) == 0 {
		return Secret{}, fmt.Errorf("secret file %s is empty", path)
	}
	return New(string(data)), nil
}

// CheckFile says whether FromFile would accept the file, without reading it.
func CheckFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read secret file: %w", err)
	}
	return check(path, info)
}

func check(path string, info fs.FileInfo) error {
	switch perm := info.Mode().Perm(); {
	case !info.Mode().IsRegular():
		return fmt.Errorf("secret file %s is not a regular file", path)
	case perm&0o077 != 0:
		return fmt.Errorf("%w: %s has mode %04o, 0600 is wanted", ErrExposed, path, perm)
	case info.Size() == 0:
		return fmt.Errorf("secret file %s is empty", path)
	case info.Size() > maxFile:
		return fmt.Errorf("secret file %s has %d bytes, at most %d are read", path, info.Size(), maxFile)
	}
	return nil
}
