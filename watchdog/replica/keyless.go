package replica

import (
	"bytes"
	"errors"
	"net"
	"slices"
)

// keyless is a connection without TLS of a replica that takes no public key
// from its source. The driver would ask whoever answers for one, and send the
// password encrypted with that, by caching_sha2_password and by
// sha256_password, named in the greeting or afterwards (its auth.go). A
// server's client gives up with the former (error 2061).
//
// The driver encrypts only after one of three packets: an answer to the
// greeting that names sha256_password, a payload of 1 (that plugin's request
// for a key) or of 2 (the other's). None of them is sent, nor anything else
// that is not known to be a hash.
type keyless struct {
	net.Conn
	greeted bool // the greeting was answered
	in      bool // the login is over: everything passes
	wanted  bool // the key of caching_sha2_password, which the server's client would not ask for
	held    bool // something was not sent
}

var errKeyless = errors.New("no password is sent that whoever answers could decrypt")

// hashes are the lengths of what the driver answers a challenge with: nothing,
// and by mysql_native_password, caching_sha2_password and client_ed25519.
var hashes = []int{0, 20, 32, 64}

// Write takes whole packets, as the driver writes them.
func (k *keyless) Write(b []byte) (int, error) {
	switch {
	case k.in:
	case !k.greeted && !bytes.Contains(b, []byte("sha256_password\x00")):
		k.greeted = true
	case k.greeted && slices.Contains(hashes, len(b)-4):
	default:
		k.held = true
		k.wanted = k.greeted && len(b) == 5 && b[4] == 2
		return 0, errKeyless
	}
	return k.Conn.Write(b)
}
