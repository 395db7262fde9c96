package lab

import (
	"fmt"
	"path/filepath"
	"strings"
)

// redoCapacity is the redo log of every node, in bytes. A large buffer pool has
// a larger one, or it could not hold many changed pages.
const redoCapacity = 64 << 20

func (c *Cluster) redo() int { return max(redoCapacity, c.setup.PoolMB<<20/2) }

// small keeps a server to what a lab needs; the table caches keep the
// performance schema's own sizing at its smallest.
var small = []string{
	"max_connections=100",
	"table_open_cache=400",
	"table_definition_cache=400",
}

// optionFile is the my.cnf of one node. Sockets, pid files and logs lie
// outside the datadir, which a rebuild exchanges.
func (n *Node) optionFile(s *Server, id identity) string {
	lines := []string{
		"[mysqld]",
		"datadir=" + n.Datadir,
		"socket=" + n.Socket,
		"pid_file=" + n.MysqldPIDFile,
		"log_error=" + n.ErrorLog,
		"tmpdir=" + filepath.Dir(n.Socket),
		"bind_address=" + n.Address,
		fmt.Sprintf("port=%d", n.Port),
		"report_host=" + n.Address,
		fmt.Sprintf("report_port=%d", n.Port),
		fmt.Sprintf("server_id=%d", n.index),
		"skip_name_resolve=ON",
		"sync_binlog=1",
		fmt.Sprintf("innodb_buffer_pool_size=%dM", n.cluster.setup.PoolMB),
		fmt.Sprintf("%s=%d", s.engine.redoOption, n.cluster.redo()),
	}
	lines = append(append(lines, n.layoutOptions()...), s.engine.nodeOptions...)
	if id.root {
		lines = append(lines, "user="+id.OS)
	}
	if n.index != 1 {
		lines = append(lines, s.engine.replicaOptions...)
	}
	lines = append(append(lines, small...), s.engine.paths(s.Root)...)
	return strings.Join(append(lines, n.cluster.setup.Options...), "\n") + "\n"
}

// seedOptions is the my.cnf of a template while it is being made: nothing in
// it outlives it, so durability would only cost time.
func seedOptions(dir string, s *Server, id identity) string {
	lines := []string{
		"[mysqld]",
		"datadir=" + filepath.Join(dir, "data"),
		"socket=" + filepath.Join(dir, "sock"),
		"pid_file=" + filepath.Join(dir, "pid"),
		"log_error=" + filepath.Join(dir, "seed.err"),
		"tmpdir=" + dir,
		"skip_networking=ON",
		"skip_log_bin=ON",
		"innodb_buffer_pool_size=256M",
		"innodb_flush_log_at_trx_commit=0",
		"innodb_doublewrite=OFF",
	}
	lines = append(lines, s.engine.seededOptions...)
	if id.root {
		lines = append(lines, "user="+id.OS)
	}
	return strings.Join(append(lines, s.engine.paths(s.Root)...), "\n") + "\n"
}
