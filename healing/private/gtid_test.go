package private

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// sets stand for GTID sets here: their letters are the transactions.
func letters(_ context.Context, a, b string) (bool, error) {
	if a == "?" || b == "?" {
		return false, errors.New("malformed set")
	}
	return strings.Trim(a, b) == "" || a == "", nil
}

func TestGTIDRule(t *testing.T) {
	for _, c := range []struct {
		name    string
		sets    GTIDSets
		restore bool
		err     string
	}{
		{"clone, donor has it", GTIDSets{Executed: "ab", Donor: "abc"}, false, ""},
		{"clone, donor is the same", GTIDSets{Executed: "ab", Donor: "ab"}, false, ""},
		{"clone, more than the donor", GTIDSets{Executed: "abx", Donor: "abc"}, false, "more than the donor's"},
		{"clone, donor not read", GTIDSets{Executed: "ab"}, false, "not known"},
		{"clone, empty", GTIDSets{Donor: "abc"}, false, "empty"},
		{"same as reported", GTIDSets{Executed: "ab", Reported: "ab"}, false, ""},
		{"less than reported", GTIDSets{Executed: "a", Reported: "ab"}, true, ""},
		{"nothing, but reported", GTIDSets{Reported: "ab"}, true, ""},
		{"more than reported, donor has it", GTIDSets{Executed: "abc", Reported: "ab", Donor: "abcd"}, false, ""},
		{"more than reported, donor lacks it", GTIDSets{Executed: "abx", Reported: "ab", Donor: "abcd"}, false, "more than the donor's"},
		{"more than reported, donor not read", GTIDSets{Executed: "abc", Reported: "ab"}, false, "not known"},
		{"apart", GTIDSets{Executed: "ax", Reported: "ab", Donor: "abx"}, false, "neither"},
		{"malformed", GTIDSets{Executed: "a", Reported: "?", Donor: "ab"}, false, "malformed"},
		{"donor malformed", GTIDSets{Executed: "a", Donor: "?"}, false, "malformed"},
	} {
		restore, err := GTIDRule(t.Context(), c.sets, letters)
		if restore != c.restore || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %v, %v", c.name, restore, err)
		}
	}
}

func TestReasons(t *testing.T) {
	const log = `2026-01-01T00:00:00.000000Z 0 [System] [MY-010116] [Server] mysqld starting
2026-01-01T00:00:00.000000Z 1 [ERROR] [MY-012271] [InnoDB] The innodb_system data file 'ibdata1' must be writable
2026-01-01T00:00:00.000000Z 0 [ERROR] [MY-010020] [Server] Data Dictionary initialization failed.
2026-01-01T00:00:00.000000Z 0 [ERROR] [MY-010119] [Server] Aborting
`
	want := "MY-012271 The innodb_system data file 'ibdata1' must be writable; MY-010020 Data Dictionary initialization failed."
	if got := reasons(log); got != want {
		t.Errorf("got %q", got)
	}
	if got := reasons("mysqld: error while loading shared libraries: libx.so\n\n"); got != "mysqld: error while loading shared libraries: libx.so" {
		t.Errorf("got %q", got)
	}
}

// within compares MariaDB's sets, as a list of domain-server-sequence.
func within(_ context.Context, a, b string) (bool, error) {
	for one := range strings.SplitSeq(a, ",") {
		i := strings.LastIndex(one, "-")
		known := false
		for other := range strings.SplitSeq(b, ",") {
			rest, ok := strings.CutPrefix(other, one[:i+1])
			known = known || ok && (len(rest) > len(one[i+1:]) || rest >= one[i+1:])
		}
		if !known && strings.Trim(one[i+1:], "0123456789") == "" {
			return false, nil
		}
	}
	return true, nil
}
