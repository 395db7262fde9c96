package private

import (
	"context"
	"fmt"
	"path/filepath"
)

// Rehearsal boots the staged copy sealed: with the live server's own option
// files and options, and overrides derived from its variables that let it
// write nowhere but in the copy and its work directory. datadir must be
// directly in the staging area. The server is ended by the caller, not by ctx.
func Rehearsal(ctx context.Context, o Options, datadir string) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("rehearsal server: %w", err)
	}
	if filepath.Dir(datadir) != filepath.Clean(o.Area) {
		return nil, fmt.Errorf("rehearsal server: %s is not in the staging area %s", datadir, o.Area)
	}
	w, err := openWork(o.Area, roleRehearsal, datadir, o.Program)
	if err != nil {
		return nil, fmt.Errorf("rehearsal server: %w", err)
	}
	overrides, err := Seal(o.Paths, w.place)
	if err != nil {
		w.close()
		return nil, err
	}
	argv := o.Program.argv(sealable(o.Program.Args), overrides,
		[]string{"--persisted-globals-load=OFF"}, sealedOptions(), rehearsalOptions())
	return boot(ctx, launch{role: roleRehearsal, work: w, argv: argv, boot: o.BootTimeout, logger: o.Logger})
}
