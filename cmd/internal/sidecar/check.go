package sidecar

import (
	"fmt"

	"resilver/config"
	"resilver/gossip/lease"
	"resilver/healing/method"
)

// Check finds what New would refuse of a configuration, for config.Load:
// check-config must not pass what run does not take.
func Check(cfg *config.Config) config.Problems {
	var out config.Problems
	if cfg.Lease.TTL < lease.LeastTTL {
		out = append(out, cfg.Problem("lease.ttl", fmt.Sprintf("%v is too short", cfg.Lease.TTL), fmt.Sprintf("at least %v", lease.LeastTTL)))
	}
	for path, tool := range map[string]config.Tool{"rebuild.mariabackup": cfg.Rebuild.Mariabackup, "rebuild.xtrabackup": cfg.Rebuild.Xtrabackup} {
		for i, arg := range tool.Args {
			if err := method.CheckArgs([]string{arg}); err != nil {
				out = append(out, cfg.Problem(fmt.Sprintf("%s.args[%d]", path, i), err.Error(), "remove it"))
			}
		}
	}
	return out
}
