package replica

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// stranger answers at a source's address, and does as an attacker would: its
// greeting, and then one packet for each that it gets. It is the wire and no
// server: nobody is let in.
type stranger struct {
	key      *rsa.PrivateKey
	greeting string // the plugin that it names
	more     [][]byte
	at       net.Listener
	ended    chan struct{}
	heard    [][]byte // payloads
}

var seed = []byte("abcdefghijklmnopqrst")

// greet is a greeting of the protocol's version 10.
func greet(plugin string) []byte {
	const low, high = 0xf7ff &^ 0x0800, 0x00ff // every capability of the first 24 but TLS
	out := slices.Concat([]byte("\x0a9.7.4\x00"), []byte{1, 0, 0, 0}, seed[:8], []byte{0, low & 0xff, low >> 8, 45, 2, 0, high, 0, 21}, make([]byte, 10), seed[8:], []byte{0})
	return slices.Concat(out, []byte(plugin), []byte{0})
}

func switchTo(plugin string) []byte {
	return slices.Concat([]byte{0xfe}, []byte(plugin), []byte{0}, seed, []byte{0})
}

// start listens, and answers the first who comes.
func (s *stranger) start(t *testing.T) SourceConfig {
	t.Helper()
	var err error
	if s.at, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		if conn, err := s.at.Accept(); err == nil {
			_ = conn.SetDeadline(time.Now().Add(2 * loginLimit))
			s.talk(conn)
			_ = conn.Close()
		}
	}()
	return SourceConfig{Host: "127.0.0.1", Port: s.at.Addr().(*net.TCPAddr).Port, User: "repl", Password: pw(replPassword)}
}

func (s *stranger) talk(conn net.Conn) {
	say := slices.Concat([][]byte{greet(s.greeting)}, s.more)
	seq := byte(0)
	for {
		if len(say) > 0 {
			n := len(say[0])
			if _, err := conn.Write(slices.Concat([]byte{byte(n), byte(n >> 8), 0, seq}, say[0])); err != nil {
				return
			}
			say = say[1:]
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		heard := make([]byte, int(head[0])|int(head[1])<<8)
		if _, err := io.ReadFull(conn, heard); err != nil {
			return
		}
		s.heard, seq = append(s.heard, heard), head[3]+1
		if len(say) == 0 {
			return
		}
	}
}

// learns is whether anything it heard is the password, or decrypts to it.
func (s *stranger) learns(t *testing.T, password string) bool {
	t.Helper()
	_ = s.at.Close()
	<-s.ended
	for _, b := range s.heard {
		plain, err := rsa.DecryptOAEP(sha1.New(), nil, s.key, b, nil)
		for i := range plain {
			plain[i] ^= seed[i%len(seed)]
		}
		if err == nil && strings.HasPrefix(string(plain), password) || bytes.Contains(b, []byte(password)) {
			return true
		}
		if len(b) == s.key.Size() {
			t.Errorf("it heard %d bytes that it cannot read", len(b))
		}
	}
	return false
}

// TestStrangerLearnsNoPassword: whoever answers at the source's address is not
// told the password by a replica that would not tell it either.
func TestStrangerLearnsNoPassword(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := append([]byte{1}, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	full := []byte{1, 4} // caching_sha2_password: the whole password, please
	path := func(c *SourceConfig) { c.PublicKeyPath = "/nowhere/key.pem" }
	both := func(c *SourceConfig) { path(c); c.GetSourcePublicKey = true }
	for name, x := range map[string]struct {
		greeting string
		more     [][]byte
		set      func(*SourceConfig)
		says     string // as of pair.login
		learns   bool
	}{
		// What the replica itself would do: this is how the test can tell.
		"asked to":                     {greeting: "caching_sha2_password", more: [][]byte{full, public}, set: func(c *SourceConfig) { c.GetSourcePublicKey = true }, says: "?", learns: true},
		"sha256 in the greeting":       {greeting: "sha256_password", more: [][]byte{public}, says: "?"},
		"sha256, then asks once more":  {greeting: "sha256_password", more: [][]byte{switchTo("sha256_password"), public}, says: "?"},
		"a switch to sha256":           {greeting: "caching_sha2_password", more: [][]byte{switchTo("sha256_password"), public}, says: "?"},
		"native, a switch to sha256":   {greeting: "mysql_native_password", more: [][]byte{switchTo("sha256_password"), public}, says: "?"},
		"sha256, and the server's key": {greeting: "sha256_password", more: [][]byte{public, public}, set: path, says: "?"},
		"the whole":                    {greeting: "caching_sha2_password", more: [][]byte{full, public}, says: "wants TLS or GET_SOURCE_PUBLIC_KEY"},
		"the whole, by a switch":       {greeting: "mysql_native_password", more: [][]byte{switchTo("caching_sha2_password"), full, public}, says: "wants TLS or GET_SOURCE_PUBLIC_KEY"},
		"the server's own key":         {greeting: "caching_sha2_password", more: [][]byte{full, public}, set: path, says: "?"},
		"its own before the source's":  {greeting: "caching_sha2_password", more: [][]byte{full, public}, set: both, says: "?"},
		"a key unasked":                {greeting: "caching_sha2_password", more: [][]byte{public, public}, says: "?"},
		"clear text in the greeting":   {greeting: "mysql_clear_password", more: [][]byte{full, public}, says: "?"},
		"a switch to clear text":       {greeting: "caching_sha2_password", more: [][]byte{switchTo("mysql_clear_password"), public}, says: "?"},
		"a switch to dialog":           {greeting: "caching_sha2_password", more: [][]byte{switchTo("dialog"), public}, says: "?"},
		"a switch to old passwords":    {greeting: "caching_sha2_password", more: [][]byte{switchTo("mysql_old_password"), public}, says: "?"},
		"old passwords, the old way":   {greeting: "caching_sha2_password", more: [][]byte{{0xfe}, public}, says: "?"},
	} {
		s := &stranger{key: key, greeting: x.greeting, more: x.more}
		c := s.start(t)
		if x.set != nil {
			x.set(&c)
		}
		lab.login(t, name, c, x.says)
		if got := s.learns(t, replPassword); got != x.learns {
			t.Errorf("%s: the stranger learns the password: %t", name, got)
		}
	}
}

// TestKeylessHoldsBack: until the login is over nothing leaves that is not
// known to be harmless.
func TestKeylessHoldsBack(t *testing.T) {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	defer func() { _ = near.Close() }()
	k := &keyless{Conn: near}
	sent := func(payload string) bool {
		_, err := k.Write([]byte("\x00\x00\x00\x01" + payload))
		if err != nil && !errors.Is(err, errKeyless) {
			t.Fatal(err)
		}
		return err == nil
	}
	if sent("repl\x00\x01\x01sha256_password\x00") {
		t.Error("an answer to the greeting that asks for a key")
	}
	if k = (&keyless{Conn: near}); !sent("repl\x00\x00caching_sha2_password\x00") || !sent("") || !sent(strings.Repeat("h", 32)) {
		t.Error("hashes are held back")
	}
	for _, payload := range []string{"\x01", "\x02", "secret\x00", strings.Repeat("k", 128), strings.Repeat("k", 256)} {
		if sent(payload) {
			t.Errorf("%d bytes were sent", len(payload))
		}
	}
	if k.in = true; !sent("\x01") {
		t.Error("the login is over")
	}
}
