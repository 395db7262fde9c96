package healing

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/healing/datadir"
)

// TestP20SpaceElsewhere: the file system that has the least to spare counts,
// and what is to be placed there is added up.
func TestP20SpaceElsewhere(t *testing.T) {
	dir := t.TempDir()
	free, total, err := datadir.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	here := datadir.Ref{Path: dir, Dev: 1}
	for name, c := range map[string]struct {
		rooms []roomFor
		at    string
		need  int64
	}{
		"nothing":   {nil, "", 10},
		"room":      {[]roomFor{{here, 1 << 10}}, "", 10},
		"too much":  {[]roomFor{{here, int64(total)}}, " in " + dir, int64(total) + 5},
		"together":  {[]roomFor{{here, int64(total) / 2}, {here, int64(total)/2 + 2}}, " in " + dir, int64(total)/2*2 + 7},
		"elsewhere": {[]roomFor{{here, int64(total)}, {datadir.Ref{Path: dir, Dev: 2}, int64(total)}}, " in " + dir, int64(total) + 5},
		"gone":      {[]roomFor{{datadir.Ref{Path: dir + "/none"}, 1}}, "", 10},
	} {
		g := gathering{h: &Healer{o: Options{MinFree: func(int64) int64 { return 5 }}}}
		g.f.Free, g.f.Need = int64(free)/2, 10
		g.spaceElsewhere(c.rooms)
		if g.f.SpaceAt != c.at || g.f.Need != c.need || (g.f.SpaceErr != "") != (name == "gone") {
			t.Errorf("%s: need %d%s, %s", name, g.f.Need, g.f.SpaceAt, g.f.SpaceErr)
		}
	}
}

// TestWhatCannotBePreservedIsRefusedBeforehand: step own would refuse it after
// the whole copy.
func TestWhatCannotBePreservedIsRefusedBeforehand(t *testing.T) {
	p, base := laidOut(t)
	link := filepath.Join(p.Live.Path, "ca.pem")
	paths := map[string]string{"datadir": p.Live.Path, "innodb_data_file_path": "ibdata1:12M:autoextend"}
	for _, name := range []string{"socket", "tmpdir", "log_error", "innodb_log_group_home_dir", "innodb_undo_directory"} {
		paths[name] = ""
	}
	place := func(preserve ...string) string {
		h := &Healer{o: Options{StateDir: t.TempDir(), Preserve: preserve, Logger: quiet()}}
		g := gathering{h: h, ctx: context.Background(), last: &Last{Scattered: []string{}, Paths: paths}}
		g.f.Self.Datadir, g.f.Self.Flavor = p.Live.Path, "mysql"
		g.place()
		if why := g.f.Staging.Open(); why != "" {
			t.Errorf("not judged: %s", why)
		}
		return g.f.Staging.Text
	}
	if err := os.Symlink(filepath.Join(base, "elsewhere.pem"), link); err != nil {
		t.Fatal(err)
	}
	if why := place("auto.cnf", "*.pem"); !strings.HasPrefix(why, link+" is a symbolic link") || !strings.Contains(why, "rebuild.preserve") || strings.Contains(why, "\n") {
		t.Errorf("a link: %q", why)
	}
	if why := place("auto.cnf"); why != "" {
		t.Errorf("a link that is not preserved: %q", why)
	}
}
