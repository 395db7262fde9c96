package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"resilver/gossip"
	"resilver/gossip/peer"
	"resilver/watchdog"
)

// gossipKeyFile is the keyring that `certs init` makes beside the CA.
const gossipKeyFile = "gossip.key"

const day = 24 * time.Hour

func (a *app) certsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "certs", GroupID: "setup", Args: cobra.NoArgs,
		Short: "make and show the cluster's certificates and gossip key",
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.certsInitCommand(), a.certsIssueCommand(), a.certsShowCommand())
	return c
}

func (a *app) certsInitCommand() *cobra.Command {
	var dir, cluster string
	c := &cobra.Command{
		Use: "init --cluster NAME", Args: cobra.NoArgs,
		Short: "make a new certificate authority and a gossip key, once for a cluster",
		RunE: func(*cobra.Command, []string) error {
			if err := peer.InitCA(dir, cluster); err != nil {
				return err
			}
			key := filepath.Join(dir, gossipKeyFile)
			if err := makeGossipKey(key); err != nil {
				return err
			}
			files := map[string]string{"ca": filepath.Join(dir, peer.CACertFile), "ca_key": filepath.Join(dir, peer.CAKeyFile), "gossip_key": key}
			if a.json() {
				return a.printJSON(files)
			}
			a.printf("made %s, %s and %s\nkeep %s away from the nodes: whoever has it can be any node; give the gossip key to all of them\n",
				files["ca"], files["ca_key"], files["gossip_key"], files["ca_key"])
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "directory to make them in")
	c.Flags().StringVar(&cluster, "cluster", "", "cluster.name of the configuration (required)")
	_ = c.MarkFlagRequired("cluster")
	return c
}

// makeGossipKey writes a new key, and refuses to replace one.
func makeGossipKey(path string) (err error) {
	key, err := gossip.NewKey()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write the gossip key: %s exists and is not replaced", path)
	}
	if err != nil {
		return fmt.Errorf("write the gossip key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(key); err != nil {
		return fmt.Errorf("write the gossip key: %w", err)
	}
	return f.Sync()
}

func (a *app) certsIssueCommand() *cobra.Command {
	var dir, out, cluster, node string
	var hosts []string
	var days int
	c := &cobra.Command{
		Use: "issue --cluster NAME --node NAME", Args: cobra.NoArgs,
		Short: "make the certificate of one node",
		RunE: func(*cobra.Command, []string) error {
			if days < 1 {
				return &usageError{fmt.Errorf("--days %d: a certificate holds for at least 1", days)}
			}
			if out == "" {
				out = filepath.Join(dir, node)
			}
			if err := peer.Issue(dir, out, cluster, node, hosts, time.Duration(days)*day); err != nil {
				return absent(err, "`resilver certs init` makes the authority, in the directory that --dir names")
			}
			files := map[string]string{"ca": filepath.Join(out, peer.CACertFile), "cert": filepath.Join(out, node+".crt"), "key": filepath.Join(out, node+".key")}
			if a.json() {
				return a.printJSON(files)
			}
			a.printf("made %s and %s\nname them in the configuration of %s:\n  tls: {ca: %s, cert: %s, key: %s}\n",
				files["cert"], files["key"], node, files["ca"], files["cert"], files["key"])
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "directory of the certificate authority")
	c.Flags().StringVar(&out, "out", "", "directory for the certificate; without it one of the node's name in --dir")
	c.Flags().StringVar(&cluster, "cluster", "", "cluster.name of the configuration (required)")
	c.Flags().StringVar(&node, "node", "", "node.name of the configuration (required)")
	c.Flags().StringSliceVar(&hosts, "host", nil, "host name or address of the node; may be given several times")
	c.Flags().IntVar(&days, "days", 365, "how long it holds")
	_ = c.MarkFlagRequired("cluster")
	_ = c.MarkFlagRequired("node")
	return c
}

// certificate is the JSON of certs show.
type certificate struct {
	File        string         `json:"file"`
	Cluster     string         `json:"cluster"`
	Node        *string        `json:"node"`
	CA          bool           `json:"ca"`
	Hosts       []string       `json:"hosts"`
	NotBefore   watchdog.Stamp `json:"not_before"`
	NotAfter    watchdog.Stamp `json:"not_after"`
	Issuer      string         `json:"issuer"`
	Serial      string         `json:"serial"`
	Fingerprint string         `json:"fingerprint"`
}

func (a *app) certsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE...", Args: cobra.MinimumNArgs(1),
		Short: "show what certificates say, and how long they hold",
		RunE: func(_ *cobra.Command, args []string) error {
			all := []certificate{}
			for _, file := range args {
				i, err := peer.Show(file)
				if err != nil {
					return err
				}
				one := certificate{File: file, Cluster: i.Cluster, CA: i.CA, Hosts: append([]string{}, i.Hosts...), NotBefore: watchdog.StampOf(i.NotBefore),
					NotAfter: watchdog.StampOf(i.NotAfter), Issuer: i.Issuer, Serial: i.Serial, Fingerprint: i.Fingerprint}
				if i.Node != "" {
					one.Node = &i.Node
				}
				all = append(all, one)
			}
			if a.json() {
				return a.printJSON(all)
			}
			rows := [][]string{{"FILE", "CLUSTER", "NODE", "HOSTS", "NOT AFTER", "HOLDS", "ISSUER"}}
			for _, one := range all {
				node := "(authority)"
				if one.Node != nil {
					node = *one.Node
				}
				rows = append(rows, []string{one.File, one.Cluster, node, orDash(strings.Join(one.Hosts, " ")), one.NotAfter.String(),
					holdsText(time.Until(one.NotAfter.Time)), one.Issuer})
			}
			table(a.Stdout, rows)
			return nil
		},
	}
}

func holdsText(left time.Duration) string {
	if left <= 0 {
		return "EXPIRED"
	}
	return fmt.Sprintf("%d days", int(left/day))
}
