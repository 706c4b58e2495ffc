package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/broker/adopt"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment/vfs"
)

func logAdoptCommand(f *flags) *cobra.Command {
	var o adoptFlags
	c := &cobra.Command{
		Use:   "adopt KAFKA-DIR…",
		Short: "Make a data directory out of a stopped Apache Kafka broker's log directories",
		Long: `Make a data directory of Varve out of the log directories (log.dirs, and metadata.log.dir)
of an Apache Kafka broker of KRaft that has stopped cleanly: topics with ids and configs,
all records at their offsets, leader epochs, producers, and the positions of groups.

First every byte is read and checked; what cannot be adopted is told before anything is
written. Then a new directory is put together: log.dirs of the settings, which must not
be there yet. Sealed log files are hard-linked where that is possible, all else is copied:
Kafka's directory stays as it is. A command that was cut off goes on when it is repeated.

Settings come from --properties, --set and the environment, as those of varve server;
node.id has to be Kafka's.`,
		Example: `  varve log adopt /var/lib/kafka --set log.dirs=/var/lib/varve --dry-run`,
		Args:    someArgs("directory"),
		RunE:    func(c *cobra.Command, args []string) error { return adoptLogs(c, f, args, o) },
	}
	s := c.Flags()
	s.StringVar(&o.properties, "properties", "", "`server.properties` of the broker that is to be")
	s.StringArrayVar(&o.sets, "set", nil, "a setting of it, as `key=value`; may be repeated")
	s.StringArrayVar(&o.skip, "skip", nil, "leave a `topic` behind; may be repeated")
	s.BoolVar(&o.dry, "dry-run", false, "read and say what would be adopted; write nothing")
	s.BoolVar(&o.copyAll, "copy", false, "copy sealed log files, too, in place of hard links")
	return c
}

type adoptFlags struct {
	properties   string
	sets, skip   []string
	dry, copyAll bool
}

func adoptLogs(c *cobra.Command, f *flags, dirs []string, o adoptFlags) error {
	var files []string
	if o.properties != "" {
		files = append(files, o.properties)
	}
	cfg, _, err := loadConfig(files, o.sets)
	if err != nil {
		return usageError{err}
	}
	p := f.printer(c)
	show := p.progress("bytes read", false)
	disk := new(vfs.OS)
	plan, err := adopt.Survey(adopt.Source{
		FS: disk, Dirs: dirs, Skip: o.skip, Config: cfg, MaxBatch: maxVerified, Progress: func(_ string, n int64) { show.add(int(n)) },
	})
	show.end()
	if err != nil {
		return err
	}
	if err := printPlan(p, plan); err != nil {
		return err
	}
	if n := len(plan.Refusals); n > 0 {
		return fmt.Errorf("nothing was adopted, for %d reasons", n)
	}
	if o.dry {
		return nil
	}
	target := cfg.LogDirs[0]
	done, err := adopt.CarryOut(c.Context(), plan, adopt.Target{
		FS: disk, Dir: target, CopyAll: o.copyAll, Random: rand.Reader,
		Open: func(ctx context.Context, work string) (adopt.Metadata, error) {
			return adoptMetadata(ctx, cfg, plan, target, work)
		},
	})
	if errors.Is(err, adopt.ErrInTheWay) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; Kafka's directory is as it was: repeat the command to go on", err)
	}
	p.note("adopted %d logs into %s: %s linked, %s copied; Kafka's directory is as it was", done.Logs, target, size(done.Linked), size(done.Copied))
	p.note("start the broker with node.id=%d and log.dirs=%s", plan.NodeID, target)
	return nil
}

// adoptMetadata opens the metadata of the broker that is to be. Where it lies in the log
// directory it is made where that is under way.
func adoptMetadata(ctx context.Context, cfg *config.Broker, plan adopt.Plan, target, work string) (adopt.Metadata, error) {
	dir, err := filepath.Abs(cfg.MetadataDir)
	if err != nil {
		return nil, err
	}
	final, err := filepath.Abs(target)
	if err != nil {
		return nil, err
	}
	dir, _ = adopt.Below(dir, final, work)
	return cluster.Open(ctx, cluster.Options{
		NodeID: cfg.NodeID, Dir: dir, Endpoints: cfg.MetadataEndpoints, Login: cluster.Login(cfg.Etcd), LeaseSeconds: int64(cfg.BrokerSessionTimeout.Seconds()),
	}, plan.ClusterID)
}

// printPlan prints what a survey has found.
func printPlan(p *printer, plan adopt.Plan) error {
	if p.json {
		return p.value(plan)
	}
	rows := make([][]string, 0, len(plan.Topics))
	for _, t := range plan.Topics {
		var bytes, offsets int64
		for _, l := range t.Logs {
			bytes, offsets = bytes+l.Bytes, offsets+l.End-l.Start
		}
		rows = append(rows, []string{t.Name, t.ID, fmt.Sprint(len(t.Logs)), fmt.Sprint(offsets), size(bytes), configsText(t.Configs)})
	}
	if len(rows) > 0 {
		fmt.Fprintf(p.out, "cluster %s, node %d\n", plan.ClusterID, plan.NodeID)
		if err := p.table([]string{"TOPIC", "ID", "PARTITIONS", "OFFSETS", "SIZE", "CONFIGS"}, rows); err != nil {
			return err
		}
	}
	if a := plan.Settings; len(a.GroupConfigs)+len(a.MetricsConfigs)+len(a.Quotas)+len(a.Credentials) > 0 {
		fmt.Fprintf(p.out, "settings: configs of %d groups, %d subscriptions to metrics, quotas of %d entities, credentials of %d users\n",
			len(a.GroupConfigs), len(a.MetricsConfigs), len(a.Quotas), len(a.Credentials))
	}
	for _, n := range plan.Notes {
		p.note("note: %s", n)
	}
	for _, r := range plan.Refusals {
		p.note("refused: %s", r)
	}
	return nil
}

func configsText(configs map[string]string) string {
	pairs := make([]string, 0, len(configs))
	for _, k := range slices.Sorted(maps.Keys(configs)) {
		pairs = append(pairs, k+"="+configs[k])
	}
	return dash(strings.Join(pairs, " "))
}
