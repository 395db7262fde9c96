package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// units of a Size, the largest first.
var units = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

var errSize = errors.New("not a size such as 10GiB, 500MB or 4096")

// ParseSize reads a size such as 10GiB, 1.5GB or 4096. Empty is 0.
func ParseSize(text string) (Size, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	number, factor := text, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "eExXpPnN_") {
		return 0, errSize
	}
	if f < 0 {
		return 0, errors.New("a size is not negative")
	}
	if f*factor >= math.MaxInt64 {
		return 0, errors.New("a size of that many bytes does not exist")
	}
	return Size(f * factor), nil
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if b := int64(u.bytes); s != 0 && int64(s)%b == 0 {
			return fmt.Sprintf("%d%s", int64(s)/b, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Space is a part of a file system: a share of it in percent, or bytes.
type Space struct {
	Percent float64
	Bytes   Size
}

// ParseSpace reads a share such as 5%, or a size.
func ParseSpace(text string) (Space, error) {
	if n, ok := strings.CutSuffix(strings.TrimSpace(text), "%"); ok {
		f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
		if err != nil || !(f >= 0 && f < 100) {
			return Space{}, errors.New("not a share from 0% to below 100%")
		}
		return Space{Percent: f}, nil
	}
	s, err := ParseSize(text)
	if err != nil {
		return Space{}, errors.New("neither a share such as 5% nor a size such as 10GiB")
	}
	return Space{Bytes: s}, nil
}

// Of returns the bytes of a file system with total bytes.
func (s Space) Of(total int64) int64 {
	return int64(s.Bytes) + int64(float64(total)*s.Percent/100)
}

func (s Space) String() string {
	if s.Percent != 0 {
		return strconv.FormatFloat(s.Percent, 'g', -1, 64) + "%"
	}
	return s.Bytes.String()
}
