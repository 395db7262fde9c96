package binlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Logs are the binary logs of a server, or the relay logs of one channel.
type Logs struct {
	Datadir  string // where relative paths begin
	Basename string // path of the files without their number
	Index    string // path of the list of them
	Relay    bool
}

// GTIDs are the transactions that the logs tell of, as a list for a server.
// The files are read from the last one back to one that begins with the set of
// all before it. MariaDB's relay logs have none of their own, so all of them
// are read.
func (r *Reader) GTIDs(ctx context.Context, l Logs) (string, error) {
	files, err := l.files()
	if err != nil {
		return "", fmt.Errorf("list logs: %w", err)
	}
	s := &set{mariadb: r.o.Flavor == "mariadb"}
	heads := !s.mariadb || !l.Relay
	for i := len(files) - 1; i >= 0; i-- {
		ext, err := walk(files[i], l.Relay)
		if err == nil && ext.torn && i < len(files)-1 {
			err = fmt.Errorf("%s is cut off, and is not the last", files[i])
		}
		if err != nil {
			return "", fmt.Errorf("read a log: %w", err)
		}
		if ext.last == 0 {
			continue
		}
		p := &parser{set: s, mariadb: s.mariadb, heads: heads}
		err = r.run(ctx, files[i], ext.whole, p.line)
		if err == nil {
			err = p.end(ext)
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", files[i], err)
		}
		if p.head {
			return s.String(), nil
		}
	}
	if heads {
		return "", fmt.Errorf("read the logs in %s: none of them begins with the set of those before it", l.Index)
	}
	return s.String(), nil
}

// files are those of the index, oldest first, and any that is there with a
// number after the last of them: a crash may have come before it was listed.
func (l Logs) files() ([]string, error) {
	text, err := os.ReadFile(l.at(l.Index))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, l.at(line))
		}
	}
	last := uint64(0)
	if len(out) > 0 {
		if last, err = number(out[len(out)-1]); err != nil {
			return nil, err
		}
	}
	base := l.at(l.Basename)
	entries, err := os.ReadDir(filepath.Dir(base))
	if err != nil {
		return nil, err
	}
	var later []string
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(base), e.Name())
		digits, is := strings.CutPrefix(path, base+".")
		if n, err := strconv.ParseUint(digits, 10, 64); is && err == nil && n > last {
			later = append(later, path)
		}
	}
	slices.SortFunc(later, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return append(out, later...), nil
}

func (l Logs) at(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.Datadir, path)
	}
	return filepath.Clean(path)
}

func number(path string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(filepath.Ext(path), "."), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s has no number", path)
	}
	return n, nil
}

// Channels are the relay logs of every channel that there is: a channel with a
// name has it in its files' names.
func Channels(l Logs) ([]Logs, error) {
	base := l.at(l.Basename)
	named, err := filepath.Glob(glob.Replace(base) + "-*.index")
	if err != nil {
		return nil, err
	}
	out := []Logs{}
	if _, err := os.Stat(l.at(l.Index)); err == nil {
		out = append(out, l)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, index := range named {
		if index != l.at(l.Index) {
			out = append(out, Logs{Datadir: l.Datadir, Index: index, Basename: strings.TrimSuffix(index, ".index"), Relay: true})
		}
	}
	return out, nil
}

var glob = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// What the tools write, one line each (MySQL 9.7, MariaDB 10.11).
var (
	eventAt      = regexp.MustCompile(`^# at (\d+)$`)
	mysqlNext    = regexp.MustCompile(`^SET @@SESSION\.GTID_NEXT= '([^']*)'`)
	mysqlHead    = regexp.MustCompile(`^#\d{6} .*\tPrevious-GTIDs$`)
	mariadbGTID  = regexp.MustCompile(`^#\d{6} .*\tGTID (\d+-\d+-\d+)( |$)`)
	mariadbHead  = regexp.MustCompile(`^#\d{6} .*\tGtid list \[(.*)$`)
	listContinue = regexp.MustCompile(`^# (\S.*)$`)
)

// parser reads a tool's output line by line.
type parser struct {
	set     *set
	mariadb bool
	heads   bool // the set at the head of a file is this server's
	head    bool // it was there
	inHead  bool // it goes on in the next line
	last    int64
	gtids   int
	err     error
}

func (p *parser) line(text string) {
	if p.err != nil {
		return
	}
	if p.inHead {
		p.headLine(text)
		return
	}
	if m := eventAt.FindStringSubmatch(text); m != nil {
		p.last, p.err = strconv.ParseInt(m[1], 10, 64)
		return
	}
	if p.mariadb {
		if m := mariadbGTID.FindStringSubmatch(text); m != nil {
			p.add(m[1])
		} else if m := mariadbHead.FindStringSubmatch(text); m != nil && p.heads {
			p.head, p.inHead = true, true
			p.headLine("# " + m[1])
		}
		return
	}
	if m := mysqlNext.FindStringSubmatch(text); m != nil && m[1] != "AUTOMATIC" {
		p.add(m[1])
	} else if mysqlHead.MatchString(text) {
		p.head, p.inHead = true, true
	}
}

func (p *parser) add(gtid string) {
	p.gtids++
	if err := p.set.add(gtid); err != nil {
		p.err = fmt.Errorf("a transaction without an id of its own: %w", err)
	}
}

// headLine takes one line of a list that may go over several: MySQL's goes on
// after a comma, MariaDB's ends with a bracket.
func (p *parser) headLine(text string) {
	m := listContinue.FindStringSubmatch(text)
	if m == nil && text != "# ]" {
		p.err = fmt.Errorf("the set at its head is not understood: %q", text)
		return
	}
	list := strings.TrimPrefix(text, "# ")
	if p.mariadb {
		list, p.inHead = strings.TrimSuffix(list, "]"), !strings.HasSuffix(list, "]")
	} else {
		p.inHead = strings.HasSuffix(list, ",")
	}
	if list = strings.TrimSuffix(list, ","); list != "[empty]" {
		p.set.addList(list)
	}
}

// end says whether the tool has read all whole events.
func (p *parser) end(ext extent) error {
	switch {
	case p.err != nil:
		return p.err
	case p.inHead:
		return errors.New("the set at its head has no end")
	case p.last != ext.last:
		return fmt.Errorf("the tool read until %d, the last event is at %d", p.last, ext.last)
	case p.gtids != ext.gtids:
		return fmt.Errorf("the tool names %d transactions, there are %d", p.gtids, ext.gtids)
	}
	return nil
}
