package healing

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// wipe asks what only a rebuild that wipes first must know.
func (g *gathering) wipe() {
	if !g.known() || g.last != nil {
		return
	}
	g.f.Wipe.Login = g.login()
	if g.root == "" {
		g.f.Wipe.Flat = watchdog.AnswerOf("", errors.New("see guard staging-place"))
		return
	}
	why, err := g.notFlat()
	if err == nil {
		g.f.Wipe.Bytes, err = datadir.Bytes(g.at.Live.Ref)
	}
	g.f.Wipe.Flat = watchdog.AnswerOf(why, err)
}

// notFlat is why more than one directory would have to be wiped, and filled
// again.
func (g *gathering) notFlat() (string, error) {
	elsewhere, err := outside(g.at, g.variables, channelOf(g.f.Self))
	switch {
	case err != nil:
		return "", err
	case g.at.Inside():
		return "the datadir " + g.at.Live.Path + " is a mount point, which cannot be wiped at once", nil
	case len(elsewhere) > 0:
		return "data or logs lie outside the datadir, in " + elsewhere[0].Dir.Path + ", and are not wiped with it", nil
	case len(g.scattered) > 0:
		return "tablespaces lie at paths of their own: " + list(g.scattered), nil
	}
	if state, err := filepath.EvalSymlinks(g.h.o.StateDir); err != nil || strings.HasPrefix(state+"/", g.at.Live.Path+"/") {
		return "state_dir is inside the datadir", err
	}
	for _, d := range g.f.Donors {
		if d.State != nil && len(d.State.Contents.Scattered) > 0 {
			return d.Node + " has tablespaces at paths of their own", nil
		}
	}
	going, err := g.at.Find(datadir.NameGoing)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return going.Path + " is there already: look at it, and remove it", err
}

// login wants the login at the source to have succeeded. What guard
// source-account lets pass because it cannot be judged is no here.
func (g *gathering) login() watchdog.Answer {
	source, err := g.source()
	if err != nil {
		return watchdog.AnswerOf("", err)
	}
	if g.h.elsewhere(g.ctx, g.f.Self, g.last != nil) {
		return watchdog.AnswerOf("", errors.New("it cannot be tried from here: the server is in another network"))
	}
	return watchdog.AnswerOf(g.h.logins.ask(g.ctx, source, true, replica.TryLogin))
}
