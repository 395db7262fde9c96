package replica

import (
	"strconv"
	"strings"
	"testing"

	"resilver/config/secret"
)

func pw(text string) secret.Secret { return secret.New(text) }

func TestGTIDFunctions(t *testing.T) {
	const a, b = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	s, ctx := lab.source.own, t.Context()
	for _, c := range []struct{ name, left, right, minus, union string }{
		{"plain", a + ":1-10", a + ":3-4", a + ":1-2:5-10", a + ":1-10"},
		{"empty right", a + ":1-10", "", a + ":1-10", a + ":1-10"},
		{"empty left", "", a + ":1", "", a + ":1"},
		{"both empty", "", "", "", ""},
		{"two sources with line breaks", a + ":1-3,\n" + b + ":1-5", b + ":5,\n " + a + ":2", a + ":1:3," + b + ":1-4", a + ":1-3," + b + ":1-5"},
		{"tagged", a + ":1-8:mytag:1-2", a + ":1-8:mytag:1", a + ":mytag:2", a + ":1-8:mytag:1-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := s.GTIDSubtract(ctx, c.left, c.right); err != nil || got != c.minus {
				t.Errorf("subtract: %q, %v; want %q", got, err, c.minus)
			}
			if got, err := s.GTIDUnion(ctx, c.left, c.right); err != nil || got != c.union {
				t.Errorf("union: %q, %v; want %q", got, err, c.union)
			}
			if got, err := s.GTIDSubset(ctx, c.left, c.right); err != nil || got != (c.minus == "") {
				t.Errorf("subset: %v, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"nonsense", a, a + ":", a + ":x", a + ":1:x", a + ":x:y:1", a + ":1,", "'; DROP TABLE t.a; --"} {
		if _, err := s.GTIDSubset(ctx, bad, a+":1"); err == nil {
			t.Errorf("%q was taken for a set", bad)
		}
		if _, err := s.GTIDUnion(ctx, bad, ""); err == nil {
			t.Errorf("%q was taken for a set", bad)
		}
	}
	long := a + ":1"
	var parts strings.Builder
	for i := 3; i < 60000; i += 2 {
		parts.WriteString(":")
		parts.WriteString(strconv.Itoa(i))
	}
	if ok, err := s.GTIDSubset(ctx, long+parts.String(), a+":1-60000"); err != nil || !ok {
		t.Errorf("a long set: %v, %v", ok, err)
	}
}

func TestGTIDSetsOfServers(t *testing.T) {
	healthy(t)
	ctx := t.Context()
	executed, err := lab.source.own.Executed(ctx)
	if err != nil || executed == "" {
		t.Fatal(executed, err)
	}
	if got := sourceOf(t, lab.replica.own).Retrieved; got == "" || !contains(t, got, executed) {
		t.Error(got)
	}
	// On a server that others can reach, nothing is reset.
	if err := lab.replica.own.RestoreGTIDs(ctx, executed); err == nil || !strings.Contains(err.Error(), "not private") {
		t.Error(err)
	}
	if err := lab.replica.own.RestoreGTIDs(ctx, " \n"); err == nil {
		t.Error("an empty set was restored")
	}
}
