package gossip

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// NewKey makes the text of a key file: 32 random bytes in base64.
func NewKey() (string, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("draw a gossip key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key) + "\n", nil
}

// ParseKeys reads a key file: one key a line in base64, of 16, 24 or 32 bytes.
// The first is the one to encrypt with, the others are still understood; empty
// lines and lines that begin with # are skipped. Errors name lines, never keys.
func ParseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("gossip key file, line %d: not base64", n)
		}
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("gossip key file, line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the gossip key file: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("gossip key file holds no key")
	}
	return keys, nil
}

func checkKey(key []byte) error {
	if n := len(key); n != 16 && n != 24 && n != 32 {
		return fmt.Errorf("key of %d bytes: want 16, 24 or 32", n)
	}
	return nil
}
