package binlog

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// set collects transactions one by one and writes them down shortly, as a list
// that a server of the flavour reads. It only gathers: comparing is for those
// who know what a set is.
type set struct {
	mariadb bool
	whole   []string          // lists, as a log's head has them
	runs    map[string][]span // by what stands before the number
}

// span are numbers from first through last.
type span struct{ first, last uint64 }

// add takes one transaction, as source:7, source:tag:7, or domain-server-7.
func (s *set) add(gtid string) error {
	sep := ":"
	if s.mariadb {
		sep = "-"
	}
	writer, n, err := cutNumber(gtid, sep)
	if err != nil {
		return err
	}
	if s.runs == nil {
		s.runs = map[string][]span{}
	}
	of := s.runs[writer]
	switch last := len(of) - 1; {
	case s.mariadb && last >= 0: // of one writer the largest stands for all
		of[0].last = max(of[0].last, n)
	case last >= 0 && of[last].last+1 == n:
		of[last].last = n
	default:
		of = append(of, span{n, n})
	}
	s.runs[writer] = of
	return nil
}

// cutNumber cuts an id at its last number.
func cutNumber(gtid, sep string) (writer string, n uint64, err error) {
	i := strings.LastIndex(gtid, sep)
	n, err = strconv.ParseUint(gtid[i+1:], 10, 64)
	if i < 0 || err != nil {
		return "", 0, fmt.Errorf("%q is no transaction's id", gtid)
	}
	return gtid[:i], n, nil
}

// head are the lists alone.
func (s *set) head() string { return strings.Join(s.whole, ",") }

// addList takes a whole list.
func (s *set) addList(list string) {
	if list != "" {
		s.whole = append(s.whole, list)
	}
}

func (s *set) String() string {
	parts := slices.Clone(s.whole)
	for _, of := range slices.Sorted(maps.Keys(s.runs)) {
		spans := s.runs[of]
		if s.mariadb {
			parts = append(parts, fmt.Sprintf("%s-%d", of, spans[0].last))
			continue
		}
		text := of
		for _, sp := range spans {
			if text += fmt.Sprintf(":%d", sp.first); sp.last > sp.first {
				text += fmt.Sprintf("-%d", sp.last)
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ",")
}
