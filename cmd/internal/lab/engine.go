package lab

import (
	"context"
	"fmt"
	"strings"
)

// The engines.
const (
	MySQL   = "mysql"
	MariaDB = "mariadb"
)

// Engines are the names of the engines that a lab can run.
func Engines() []string { return []string{MySQL, MariaDB} }

// engine is what a lab does in one way on MySQL and in another on MariaDB.
type engine struct {
	name  string
	title string // for a person
	// programs must all be on the PATH for an installed server to be taken:
	// the server, the client, then the rest.
	programs []string
	oldest   int // version that a lab can run, as 80023

	// Lines of option files: by which a server finds its own files and keeps
	// out of those of an installed one; for a node; for a replica; for a
	// template while it is made.
	paths                                      func(root string) []string
	nodeOptions, replicaOptions, seededOptions []string
	redoOption                                 string // names the size of the redo log
	// split are the files that LayoutSplit has outside the datadir, beside
	// logs, and splitOptions what more says so.
	split        []string
	splitOptions func(n *Node) []string
	mountOptions []string // for LayoutMount
	// directories let tables have files in a directory outside the datadir.
	directories func(dir string) []string

	// initialise makes an empty datadir where the option file says.
	initialise func(ctx context.Context, s *Server, id identity, optionFile string) error
	// admit are the statements that let the lab's user in without a password.
	admit func(id identity) []string
	// fill is a statement that inserts rows into lab.bulk that do not compress.
	fill func(first, last int) string
	// forget names files that nodes must not share.
	forget []string

	// user is the account as which the lab enters.
	user func(id identity) string
	// grants make resilver's accounts, those that resilver grants prints.
	grants func(c *Cluster) ([]string, error)
	// login is what a sidecar's configuration says of its accounts.
	login         func(c *Cluster) tree
	accountTables []string

	// change begins the statement that says where to replicate from, in which
	// the names of settings begin with prefix; auto are those of the position.
	change, prefix, auto string
	// begin comes before the first such statement of a server.
	begin []string
	// Statements that keep writers out, and that let them in.
	shut, open []string
	// Statements of a session that writes past a server that is shut, without
	// a trace in its binary log, and of its end.
	sneakIn, sneakOut []string

	// executed is a query for the transactions that a server has.
	executed string
	// received is what a replica has, applied or not, by its status.
	received func(status map[string]string) string
	// missing is what of want is not in have; empty: nothing.
	missing func(ctx context.Context, n *Node, want, have string) (string, error)
	// Error numbers of a receiver whose source has purged, and of an applier's
	// worker that only stopped because another had failed; empty: there is none.
	purged, followedSuit string
}

func engineOf(name string) (*engine, error) {
	switch name {
	case MySQL:
		return mysqlEngine(), nil
	case MariaDB:
		return mariadbEngine(), nil
	}
	return nil, fmt.Errorf("engine %q: want %s", name, strings.Join(Engines(), " or "))
}
