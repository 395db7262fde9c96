package binlog

import (
	"fmt"
	"strconv"
	"strings"
)

// SetOf is the set of transactions, as a list for a server of the flavour.
func SetOf(flavor string, list []Transaction) (string, error) {
	s := &set{mariadb: flavor == "mariadb"}
	for _, t := range list {
		if err := s.add(t.GTID); err != nil {
			return "", err
		}
	}
	return s.String(), nil
}

// Within tells the transactions of a set that a server wrote down. On MariaDB
// a number stands for all before it of the same writer, so there it is those
// after the last that but has of him.
func Within(flavor, set, but string) (func(gtid string) bool, error) {
	if flavor == "mariadb" {
		return withinMariaDB(set, but)
	}
	runs := map[string][]span{}
	for one := range eachOf(set) {
		parts := strings.Split(strings.ToLower(one), ":")
		of := parts[0]
		for _, p := range parts[1:] {
			if p == "" || p[0] < '0' || p[0] > '9' { // a tag; intervals of it follow
				of = parts[0] + ":" + p
				continue
			}
			from, to, more := strings.Cut(p, "-")
			if !more {
				to = from
			}
			first, err1 := strconv.ParseUint(from, 10, 64)
			last, err2 := strconv.ParseUint(to, 10, 64)
			if err1 != nil || err2 != nil {
				return nil, fmt.Errorf("%q is not a gtid set", set)
			}
			runs[of] = append(runs[of], span{first, last})
		}
	}
	return func(gtid string) bool {
		of, n, err := cutNumber(strings.ToLower(gtid), ":")
		if err != nil {
			return false
		}
		for _, s := range runs[of] {
			if n >= s.first && n <= s.last {
				return true
			}
		}
		return false
	}, nil
}

func withinMariaDB(set, but string) (func(gtid string) bool, error) {
	last, err := lastOf(set)
	if err != nil {
		return nil, err
	}
	before, err := lastOf(but)
	if err != nil {
		return nil, err
	}
	return func(gtid string) bool {
		of, n, err := cutNumber(gtid, "-")
		return err == nil && n > before[of] && n <= last[of]
	}, nil
}

// Unbroken says whether the transactions of a set of MariaDB that came from
// other servers are all there: of each writer every number after the last that
// is known elsewhere, or, of one that nobody else knows, after what is applied.
// Who wrote the numbers in between is not known, so that a gap is no proof of
// anything.
func Unbroken(set, known, applied string, found []Transaction) error {
	want, err := lastOf(set)
	if err != nil {
		return err
	}
	elsewhere, err := lastOf(known)
	if err != nil {
		return err
	}
	upTo := map[string]uint64{} // by domain
	for one := range eachOf(applied) {
		of, n, err := cutNumber(one, "-")
		if err != nil {
			return err
		}
		domain, _, _ := strings.Cut(of, "-")
		upTo[domain] = n
	}
	there := map[string]bool{}
	for _, t := range found {
		there[t.GTID] = true
	}
	for of, last := range want {
		domain, _, _ := strings.Cut(of, "-")
		from := elsewhere[of]
		if from == 0 {
			from = upTo[domain]
		}
		for n := from + 1; n <= last; n++ {
			if gtid := fmt.Sprintf("%s-%d", of, n); !there[gtid] {
				return fmt.Errorf("%s is in none of its logs", gtid)
			}
		}
	}
	return nil
}

// lastOf is the last number of each writer in a set of MariaDB.
func lastOf(set string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for one := range eachOf(set) {
		of, n, err := cutNumber(one, "-")
		if err != nil {
			return nil, err
		}
		out[of] = max(out[of], n)
	}
	return out, nil
}

// eachOf are the parts of a set.
func eachOf(set string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for one := range strings.SplitSeq(set, ",") {
			if one = strings.TrimSpace(one); one != "" && !yield(one) {
				return
			}
		}
	}
}
