package private

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Program is how the live mysqld is run: what is before its options, its
// options as on its command line, and whom it runs as.
type Program struct {
	// Prefix is everything up to and including mysqld: usually one word, more
	// where a loader runs it.
	Prefix []string
	// Args are its options. Those that name option files come first, as
	// mysqld wants them.
	Args []string
	// UID and GID are the datadir's owner.
	UID, GID uint32
}

func (p Program) check() error {
	switch {
	case len(p.Prefix) == 0:
		return errors.New("no program")
	case !filepath.IsAbs(p.Prefix[0]):
		return fmt.Errorf("program %q is not an absolute path", p.Prefix[0])
	case os.Geteuid() != 0 && uint32(os.Geteuid()) != p.UID:
		return fmt.Errorf("only root or uid %d can run a private server", p.UID)
	}
	return nil
}

// argv is the whole command line; later options win over earlier ones.
func (p Program) argv(options ...[]string) []string {
	return slices.Concat(append([][]string{p.Prefix}, options...)...)
}

// dropped are options of the live command line that a private server must not
// have, and cannot be told otherwise by a later option. True: the option
// takes a value.
var dropped = map[string]bool{
	"daemonize": false, "initialize": false, "initialize-insecure": false, "init-file": true,
	"user": true, "chroot": true, "core-file": false, "console": false, "gdb": false,
	"tc-heuristic-recover": true, "no-monitor": false, "debug-gdb": false,
}

// short are the one-letter forms of dropped options.
var short = map[string]string{"-D": "daemonize", "-I": "initialize", "-u": "user", "-r": "chroot"}

// sealable returns the live options without the dropped ones.
func sealable(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		name, value := optionName(args[i])
		takes, drop := dropped[name]
		if !drop {
			out = append(out, args[i])
			continue
		}
		if takes && !value && i+1 < len(args) {
			i++ // its value is the next word
		}
	}
	return out
}

// optionName is the option's name in one form, and whether its value is in
// the same word.
func optionName(arg string) (string, bool) {
	if len(arg) >= 2 && arg[0] == '-' && arg[1] != '-' {
		return short[arg[:2]], len(arg) > 2
	}
	name, _, value := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	return strings.TrimPrefix(strings.ReplaceAll(name, "_", "-"), "loose-"), value
}
