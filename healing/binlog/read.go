package binlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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

// LogsOf are the files that a server's variables of that kind name.
func LogsOf(datadir string, paths map[string]string, kind string, relay bool) Logs {
	base, index := paths[kind+"_basename"], paths[kind+"_index"]
	if index == "" {
		index = base + ".index"
	}
	return Logs{Datadir: datadir, Basename: base, Index: index, Relay: relay}
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
	s := &set{mariadb: r.mariadb()}
	for i := len(files) - 1; i >= 0; i-- {
		p := r.parser(s, l.Relay)
		if _, err := r.read(ctx, files[i], l.Relay, i == len(files)-1, p); err != nil {
			return "", err
		}
		if p.head {
			return s.String(), nil
		}
	}
	if r.heads(l.Relay) {
		return "", fmt.Errorf("read the logs in %s: none of them begins with the set of those before it", l.Index)
	}
	return s.String(), nil
}

func (r *Reader) mariadb() bool { return r.o.Flavor == "mariadb" }

// heads says whether files begin with the set of all before them.
func (r *Reader) heads(relay bool) bool { return !r.mariadb() || !relay }

func (r *Reader) parser(s *set, relay bool) *parser {
	return &parser{set: s, mariadb: r.mariadb(), heads: r.heads(relay), keep: func(string) bool { return false }, at: map[int64]string{}}
}

// read has p read one file, and says how far its events go. Only the last file
// of a log may be cut off.
func (r *Reader) read(ctx context.Context, path string, relay, last bool, p *parser) (extent, error) {
	ext, err := walk(path, relay)
	if err == nil && ext.torn && !last {
		err = fmt.Errorf("%s is cut off, and is not the last", path)
	}
	if err != nil {
		return ext, fmt.Errorf("read a log: %w", err)
	}
	if ext.last == 0 {
		return ext, nil
	}
	p.ending = ext.last
	err = r.run(ctx, path, ext.whole, p.line)
	if err == nil {
		err = p.end(ext)
	}
	if err != nil {
		return ext, fmt.Errorf("read %s: %w", path, err)
	}
	return ext, nil
}

// maxIndex bounds the list of logs, in bytes.
const maxIndex = 64 << 20

// files are those of the index, oldest first, and any that is there with a
// number after the last of them: a crash may have come before it was listed.
func (l Logs) files() ([]string, error) {
	index, err := open(l.at(l.Index))
	if err != nil {
		return nil, err
	}
	defer index.Close()
	text, err := io.ReadAll(io.LimitReader(index, maxIndex+1))
	if err == nil && len(text) > maxIndex {
		err = fmt.Errorf("%s is larger than an index of logs can be", index.Name())
	}
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
	heads   bool  // the set at the head of a file is this server's
	head    bool  // it was there
	inHead  bool  // it goes on in the next line
	last    int64 // where the event begins that it is at
	ending  int64 // where the last one does, and
	ended   bool  // it has come there
	gtids   int
	keep    func(gtid string) bool
	at      map[int64]string // the transactions to keep, by where they begin
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
		p.ended = p.ended || p.last == p.ending
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
	if p.keep(gtid) {
		p.at[p.last] = gtid
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
	case !p.ended: // after it a statement's text, or what it holds compressed, may look like an event
		return fmt.Errorf("the tool read until %d, the last event is at %d", p.last, ext.last)
	case p.gtids != ext.gtids:
		return fmt.Errorf("the tool names %d transactions, there are %d", p.gtids, ext.gtids)
	}
	return nil
}
