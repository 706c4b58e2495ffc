package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/share"
	"github.com/varvelog/varve/broker/telemetry"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/objstore"
)

// Options make a broker.
type Options struct {
	Config  *config.Broker
	Log     *zap.Logger
	Level   zap.AtomicLevel // of Log, for those who set it from afar; the zero value: of nothing
	Version string
	FS      vfs.FS           // nil: the operating system's
	Now     func() time.Time // nil: time.Now
}

// Broker is an open broker: its logs are recovered and its listeners are bound. It
// serves between Run and Close.
type Broker struct {
	Options
	current      atomic.Pointer[config.Broker] // Options.Config with what was altered since
	altered      news                          // of current
	dirs         []*segment.Dir
	unopened     []unopened // of log.dirs, too
	places       placement
	store        *cluster.Store
	bucket       objstore.Bucket
	tier         *tiering.Tier
	replicas     *replicas
	applying     sync.Mutex     // held while replicas are made what an image says
	image        *cluster.Image // that openLogs has applied: where follow begins
	groups       *coordinator.Groups
	transactions *coordinator.Transactions
	shares       *coordinator.Shares
	shareGroups  *share.Manager
	producerIDs  *coordinator.ProducerIDs
	limiter      *auth.Limiter
	telemetry    *telemetry.Receiver // nil: clients' metrics are not received
	cleaner      *cleaner
	server       *api.Server
	wire         *wire.Server
	listeners    []wire.Listener
	http         *httpServer

	// life ends with Close; background holds the work started in it that is neither a
	// loop of Run nor waited for where it is started: loading groups.
	life       context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	steadyNow      func() time.Time // of the coordinators
	stopCommitters func()           // after the last log was closed
}

// Open brings a broker up to where its listeners can accept: each step is named in the
// error it fails with. Close has to follow, also after Run.
func Open(ctx context.Context, o Options) (*Broker, error) {
	if o.FS == nil {
		o.FS = new(vfs.OS)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Level == (zap.AtomicLevel{}) {
		o.Level = zap.NewAtomicLevel()
	}
	b := &Broker{Options: o, replicas: newReplicas(), cleaner: newCleaner(o.Config), limiter: newLimiter(o.Config), telemetry: newTelemetry(o.Config), steadyNow: steady(o.Now)}
	b.current.Store(o.Config)
	b.life, b.end = context.WithCancel(context.Background())
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"bind listeners", b.bind},
		{"open log directories", b.openDirs},
		{"open metadata", b.openMetadata},
		{"open bucket", b.openBucket},
		{"register broker", b.register},
		{"open logs", b.openLogs},
		{"start coordinators", b.openCoordinators},
	} {
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", step.name, err), b.Close())
		}
	}
	b.assemble()
	return b, nil
}

// assemble puts the request side on top.
func (b *Broker) assemble() {
	b.server = api.New(api.Options{
		NodeID: b.config().NodeID, Config: b.config, Store: b.store,
		Partitions: b, Groups: b.groups, Transactions: b.transactions, Shares: b.shares, ShareGroups: b.shareGroups, ProducerIDs: b.producerIDs, Markers: markers{b}, Limiter: b.limiter, Telemetry: b.telemetry, Now: b.Now, Log: b.Log, LogLevel: b.Level,
	})
	b.wire = wire.New(b.server, b.wireOptions())
}

// Close stops what Open started, in the opposite order: logs are flushed and closed,
// and the directories are marked as cleanly stopped. It may be called on a broker that
// was opened in part.
func (b *Broker) Close() error {
	var errs []error
	for _, l := range b.listeners {
		l.Close() // nothing was accepted that Run has not served
	}
	if b.http != nil {
		b.http.close()
	}
	b.end()
	if b.groups != nil {
		b.unloadCoordinators()
	}
	b.background.Wait()
	for id, r := range b.replicas.all() {
		if err := r.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s-%d: %w", r.Topic(), id.Partition, err))
		}
	}
	for _, d := range b.dirs {
		errs = append(errs, d.Close())
	}
	if b.stopCommitters != nil {
		b.stopCommitters()
	}
	if b.store != nil {
		errs = append(errs, b.leave(errors.Join(errs...) == nil), b.store.Close())
	}
	return errors.Join(errs...)
}

// leave takes the broker off the metadata. A clean leave vouches for the logs: the next
// start keeps their leader epochs. So a broker that could not close them just goes, and
// its lease ends by itself.
func (b *Broker) leave(clean bool) error {
	if !clean {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), deregisterTimeout)
	defer cancel()
	return b.store.Deregister(ctx)
}

// deregisterTimeout bounds how long a stopping broker waits for the metadata; the
// lease ends by itself.
const deregisterTimeout = 5 * time.Second

// Address returns the bound address of a listener: of use where the port was 0.
func (b *Broker) Address(listener string) string {
	for _, l := range b.listeners {
		if l.Name == listener {
			return l.Addr().String()
		}
	}
	return ""
}

// HTTPAddress returns the bound address of the HTTP listener.
func (b *Broker) HTTPAddress() string { return b.http.address() }

// config returns the settings as they are now.
func (b *Broker) config() *config.Broker { return b.current.Load() }

// ClusterID returns the cluster's id.
func (b *Broker) ClusterID() string { return b.store.Image().ClusterID() }
