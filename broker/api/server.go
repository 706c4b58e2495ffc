package api

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/share"
	"github.com/varvelog/varve/broker/telemetry"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
)

// Partitions are the replicas on this broker.
type Partitions interface {
	// Partition returns a replica that is open here.
	Partition(topic segment.TopicID, index int32) (*partition.Partition, bool)
	// Await waits until this broker has opened its replicas of what the metadata holds
	// at revision.
	Await(ctx context.Context, revision int64) error
	// LogDirs describes the log directories.
	LogDirs() []LogDir
}

// LogDir is a directory of log.dirs, or the bucket.
type LogDir struct {
	Path     string
	Err      error
	Total    int64 // bytes, -1: unknown
	Usable   int64 // bytes, -1: unknown
	Cordoned bool
	Logs     []LogDirEntry
}

// LogDirEntry is one partition in a log directory.
type LogDirEntry struct {
	Topic     string
	Partition int32
	Size      int64 // bytes
}

// Options make a Server.
type Options struct {
	NodeID       int32
	Config       func() *config.Broker // as it is now: some of it can be altered
	Store        *cluster.Store
	Partitions   Partitions
	Groups       *coordinator.Groups
	Transactions *coordinator.Transactions
	Shares       *coordinator.Shares
	ShareGroups  *share.Manager
	ProducerIDs  *coordinator.ProducerIDs
	Markers      coordinator.MarkerWriter
	Limiter      *auth.Limiter
	Telemetry    *telemetry.Receiver // nil: clients' metrics are not received
	Now          func() time.Time
	Log          *zap.Logger
	LogLevel     zap.AtomicLevel // of Log
}

// Server answers requests. It implements wire.Handler and holds no state of its own
// but fetch sessions, and which connections have batches that wait to be appended.
type Server struct {
	Options
	apis     [maxKey + 1]*row
	sessions *fetchSessions
	deferred deferred
	counts   [maxKey + 1]atomic.Int64

	creations creations
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{Options: o}
	for i := range table {
		if table[i].offered == nil || table[i].offered(s) {
			s.apis[table[i].key] = &table[i]
		}
	}
	s.sessions = newFetchSessions(o.Config().FetchSessionSlots, o.Now)
	return s
}

// call is what a handler knows beside its request.
type call struct {
	*wire.Request
	throttle time.Duration // that the answer tells the client to wait (KIP-219)
}

// Start implements wire.Handler.
func (s *Server) Start(ctx context.Context, r *wire.Request) (wire.Pending, error) {
	var a *row
	if r.Key >= 0 && int(r.Key) < len(s.apis) {
		a = s.apis[r.Key]
	}
	if a == nil {
		return nil, fmt.Errorf("api key %d is not served", r.Key)
	}
	if r.Version < a.min || r.Version > a.max {
		if a.key == keyApiVersions {
			return s.unsupportedApiVersions(), nil
		}
		return nil, fmt.Errorf("%s version %d is not served (%d to %d are)", a.name, r.Version, a.min, a.max)
	}
	s.counts[a.key].Add(1)
	c := &call{Request: r}
	if s.Limiter.Limits(auth.RequestPercentage) {
		defer s.charge(c, s.Now())
	}
	return a.start(ctx, s, c)
}

// Requests calls yield with each API's name and how often it was asked for.
func (s *Server) Requests(yield func(name string, count int64)) {
	for i := range table {
		if n := s.counts[table[i].key].Load(); n > 0 {
			yield(table[i].name, n)
		}
	}
}
