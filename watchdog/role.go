package watchdog

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// Standing is the role of a node with the primary that it was judged by.
type Standing struct {
	Role    Role
	Primary string // the primary's node name; empty where it is not known
	Why     string // in one line: what the role rests on, or what is missing
}

// RoleOf judges a node's role from the reports. Only this node's report and
// the primary's must be fresh. Two writable nodes, a source outside the
// cluster, a silent primary: everything that leaves a doubt is RoleUnknown.
func RoleOf(v View, node string, fresh time.Duration) Standing {
	n, ok := v.Nodes[node]
	if !ok || !n.Fresh(fresh) {
		return Standing{RoleUnknown, "", fmt.Sprintf("no fresh report of %s itself", node)}
	}
	if w := writable(v, fresh); len(w) > 1 {
		return Standing{RoleUnknown, "", "several nodes are writable: " + strings.Join(w, ", ")}
	}
	followers := followersOf(v, n)
	switch {
	case n.Channels == 0 && len(followers) > 0:
		return Standing{RolePrimary, node, "replicated from by " + strings.Join(followers, ", ")}
	case n.Writable && len(followers) > 0:
		return Standing{RolePrimary, node, "writable, and replicated from by " + strings.Join(followers, ", ")}
	case n.Writable && n.Channels == 0:
		return Standing{RolePrimary, node, "writable, with no source"}
	case n.Channels == 0:
		return Standing{RoleUnknown, "", "neither writable nor a replica of anything"}
	}
	return sourceChain(v, n, fresh)
}

// sourceChain follows n's source to the end, which must be one other node
// that is alive, fresh and writable.
func sourceChain(v View, n NodeView, fresh time.Duration) Standing {
	at := n
	for range v.Nodes {
		next, ok := sourceOf(v, at)
		if !ok {
			return Standing{RoleUnknown, "", fmt.Sprintf("%s's source %s is no node of this cluster", at.Node, at.SourceAddress)}
		}
		if next.Node == n.Node {
			return Standing{RoleUnknown, "", "its source chain is a circle"}
		}
		if next.Channels > 0 {
			at = next
			continue
		}
		switch {
		case !next.Fresh(fresh):
			return Standing{RoleUnknown, "", fmt.Sprintf("no fresh report of %s, the end of its source chain; is its sidecar down?", next.Node)}
		case !next.Reachable:
			return Standing{RoleUnknown, "", fmt.Sprintf("%s, the end of its source chain, does not answer its sidecar", next.Node)}
		case !next.Writable:
			return Standing{RoleUnknown, "", fmt.Sprintf("%s, the end of its source chain, is not writable", next.Node)}
		}
		return Standing{RoleReplica, next.Node, fmt.Sprintf("replicates from %s, which is alive and writable", next.Node)}
	}
	return Standing{RoleUnknown, "", "its source chain does not end"}
}

// sourceOf finds the node that n replicates from: by server_uuid once it has
// been connected, else by the address it dials.
func sourceOf(v View, n NodeView) (NodeView, bool) {
	for _, name := range names(v) {
		if other := v.Nodes[name]; other.Node != n.Node && follows(n, other) {
			return other, true
		}
	}
	return NodeView{}, false
}

func follows(n, source NodeView) bool {
	if n.Channels == 0 || !source.Heard {
		return false
	}
	if n.SourceUUID != "" && source.ServerUUID != "" {
		return n.SourceUUID == source.ServerUUID
	}
	return n.SourceAddress != "" && n.SourceAddress == source.SQLAddress
}

// Followers names the nodes that are configured to replicate from this one, as
// far as any of them was heard.
func Followers(v View, node string) []string { return followersOf(v, v.Nodes[node]) }

// followersOf names the nodes that are configured to replicate from n,
// however old their reports are: an old sign of being a source still counts.
func followersOf(v View, n NodeView) []string {
	var out []string
	for _, name := range names(v) {
		if other := v.Nodes[name]; other.Node != n.Node && other.Heard && follows(other, n) {
			out = append(out, name)
		}
	}
	return out
}

func writable(v View, fresh time.Duration) []string {
	var out []string
	for _, name := range names(v) {
		if n := v.Nodes[name]; n.Fresh(fresh) && n.Writable {
			out = append(out, name)
		}
	}
	return out
}

func names(v View) []string {
	out := make([]string, 0, len(v.Nodes))
	for name := range v.Nodes {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
