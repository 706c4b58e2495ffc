package cluster

import (
	"context"
	"fmt"
	"net/url"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// tickMs and electionMs: a single member waits only for its own election at a
	// restart, at most electionMs, five ticks being the least that etcd takes. A
	// hundred ticks a second cost no CPU worth naming.
	tickMs     = 10
	electionMs = 50
	// quotaBytes is the largest database that etcd recommends. Ours takes about 1 KiB a
	// partition; the rest is room for revisions between compactions.
	quotaBytes = 8 << 30
	// historyKept is how long old revisions stay: longer than any watch lags that could
	// still catch up faster than by reading the state anew.
	historyKept = "5m"
	// snapshotEntries bounds the raft log that is kept in memory and replayed at a start.
	snapshotEntries = 10_000

	dialTimeout = 5 * time.Second
)

// startEmbedded starts a single member of etcd that listens on no socket, and a client
// that calls it in process.
//
// An etcd that cannot write its own log ends the process, after saying so at fatal
// level: nothing may be confirmed after that.
func startEmbedded(ctx context.Context, dir string, logger *zap.Logger) (*embed.Etcd, *clientv3.Client, error) {
	logger, err := quiet(logger)
	if err != nil {
		return nil, nil, err
	}
	c := embed.NewConfig()
	c.Name = "varve"
	c.Dir = dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	c.LogLevel = "error"
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	// A member must have a peer URL; the first member that joins will change it.
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, historyKept
	c.QuotaBackendBytes = quotaBytes
	c.SnapshotCount = snapshotEntries
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case <-etcd.Server.StopNotify():
		etcd.Close()
		return nil, nil, fmt.Errorf("start the embedded etcd in %s: %w: it stopped", dir, ErrUnavailable)
	case <-ctx.Done():
		etcd.Close()
		return nil, nil, unavailable("start the embedded etcd in "+dir, ctx.Err())
	}
	client := v3client.New(etcd.Server)
	if err := makeRoom(ctx, client, etcd); err != nil {
		_ = client.Close() // the error that counts is the one before
		etcd.Close()
		return nil, nil, err
	}
	return etcd, client, nil
}

// makeRoom clears the NOSPACE alarm of an embedded etcd, which no operator's tool can
// reach: all old revisions go, the file shrinks, the alarm is disarmed.
func makeRoom(ctx context.Context, client *clientv3.Client, etcd *embed.Etcd) error {
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return unavailable("list the alarms of etcd", err)
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != pb.AlarmType_NOSPACE || a.MemberID != uint64(etcd.Server.MemberID()) {
			continue
		}
		resp, err := client.Get(ctx, clusterKey)
		if err != nil {
			return unavailable("read the revision of etcd", err)
		}
		if _, err := client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			return unavailable("compact etcd", err)
		}
		if err := etcd.Server.Backend().Defrag(); err != nil { // the in-process client cannot
			return unavailable("defragment etcd", err)
		}
		if _, err := client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return unavailable("disarm the alarm of etcd", err)
		}
	}
	return nil
}

// quiet is the logger of the embedded etcd: errors only.
func quiet(logger *zap.Logger) (*zap.Logger, error) {
	if logger == nil {
		c := zap.NewProductionConfig()
		c.Level = zap.NewAtomicLevelAt(zap.ErrorLevel)
		built, err := c.Build()
		if err != nil {
			return nil, fmt.Errorf("make the logger of etcd: %w", err)
		}
		logger = built
	}
	return logger.Named("etcd").WithOptions(zap.IncreaseLevel(zap.ErrorLevel), zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return noiseless{c}
	})), nil
}

// noiseless drops what etcd calls an error and is none: four seconds after it was
// created, a member cannot tell its storage version until its first snapshot.
type noiseless struct{ zapcore.Core }

const storageVersionNoise = "failed to update storage version"

func (n noiseless) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Message == storageVersionNoise {
		return checked
	}
	return n.Core.Check(e, checked)
}

func (n noiseless) With(fields []zapcore.Field) zapcore.Core { return noiseless{n.Core.With(fields)} }
