package lab

import (
	"database/sql"
	"fmt"
	"path/filepath"
)

// The ports of every node, each on an address of its own.
const (
	mysqlPort  = 3306
	gossipPort = 7373
	peerPort   = 7374
	httpPort   = 7375
)

// Description is a node as lab.json names it.
type Description struct {
	Name           string `json:"name"`
	Address        string `json:"address"`
	Port           int    `json:"port"`
	Socket         string `json:"mysql_socket"`
	Datadir        string `json:"datadir"`
	AdminSocket    string `json:"admin_socket"`
	Config         string `json:"config"`
	ErrorLog       string `json:"error_log"`
	MysqldPIDFile  string `json:"mysqld_pid_file"`
	SidecarPIDFile string `json:"sidecar_pid_file"`
}

// Node is one mysqld of a lab and its sidecar.
type Node struct {
	Description
	index   int // 1 for db1
	dir     string
	cluster *Cluster
	db      *sql.DB
	// set are configuration keys of this node alone, over those of the lab.
	set map[string]string
	// env is added to the environment of the next sidecar that is started.
	env []string
}

// newNode describes node number index of a lab in dir.
func newNode(c *Cluster, dir string, subnet, index int) (*Node, error) {
	name := fmt.Sprintf("db%d", index)
	home := filepath.Join(dir, name)
	n := &Node{
		Description: Description{
			Name:           name,
			Address:        fmt.Sprintf("127.0.%d.%d", subnet, index),
			Port:           mysqlPort,
			Socket:         filepath.Join(home, "run", "mysqld.sock"),
			Datadir:        filepath.Join(home, "data"),
			AdminSocket:    filepath.Join(home, "sidecar", "resilver.sock"),
			Config:         filepath.Join(home, "resilver.yaml"),
			ErrorLog:       filepath.Join(home, "log", "mysqld.err"),
			MysqldPIDFile:  filepath.Join(home, "run", "mysqld.pid"),
			SidecarPIDFile: filepath.Join(home, "sidecar", "sidecar.pid"),
		},
		index: index, dir: home, cluster: c, set: map[string]string{},
	}
	db, err := openSocket(n.Socket, c.engine.user(c.id))
	if err != nil {
		return nil, err
	}
	n.db = db
	return n, nil
}

// Engine is what the node's server is: MySQL or MariaDB.
func (n *Node) Engine() string { return n.cluster.Engine() }

// Layout is where the node's server has its files.
func (n *Node) Layout() string { return n.cluster.setup.Layout }

// Program is the server that runs on the node.
func (n *Node) Program() string { return n.cluster.setup.Mysqld }

// OptionFile is the path of the node's my.cnf.
func (n *Node) OptionFile() string { return filepath.Join(n.dir, "my.cnf") }

// StateDir is the state directory of the node's sidecar.
func (n *Node) StateDir() string { return filepath.Join(n.dir, "state") }

// SidecarLog is where the node's sidecar logs to.
func (n *Node) SidecarLog() string { return filepath.Join(n.dir, "sidecar", "sidecar.log") }

// SuperviseLog is where the supervisor of the node's mysqld logs to.
func (n *Node) SuperviseLog() string { return filepath.Join(n.dir, "sidecar", "supervise.log") }

// HTTPAddress is where the node's sidecar serves its metrics.
func (n *Node) HTTPAddress() string { return fmt.Sprintf("%s:%d", n.Address, httpPort) }

// gossip is the node's address for gossip.
func (n *Node) gossip() string { return fmt.Sprintf("%s:%d", n.Address, gossipPort) }
