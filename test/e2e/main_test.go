//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/test/verify"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/minio"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/s3api"
	"github.com/varvelog/varve/tiering/s3"
)

func TestMain(m *testing.M) { harness.Main(m) }

const bucketName = "varve"

// within is the context of a part of a test that has to end in time.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// remote is an object store as a broker and a test reach it.
type remote struct {
	driver   string // minio or s3
	endpoint string
}

func minioAt(endpoint string) remote { return remote{"minio", endpoint} }

// sets are the broker's settings, quick ones: segments are copied and swept at once.
func (r remote) sets() []string {
	address := bucketName
	if r.driver == "minio" {
		u, _ := url.Parse(r.endpoint) // it came from a server that runs
		address = u.Host + "/" + bucketName
	}
	return append(quick(),
		"varve.bucket="+r.driver+"://"+address,
		"varve.bucket.endpoint="+r.endpoint,
		"varve.bucket.access.key="+stores.AccessKeyID,
		"varve.bucket.secret.key="+stores.SecretAccessKey,
		"varve.bucket.region="+stores.Region,
		"varve.bucket.create=true",
	)
}

// quick makes the background work of a broker visible within a test.
func quick() []string {
	return []string{
		"remote.log.manager.task.interval.ms=200",
		"log.retention.check.interval.ms=500",
		"log.segment.delete.delay.ms=500",
		"varve.bucket.delete.delay.ms=1000",
		"varve.bucket.sweep.interval.ms=500",
		"group.initial.rebalance.delay.ms=0",
	}
}

// open opens the bucket beside the broker.
func (r remote) open(t testing.TB) objstore.Bucket {
	t.Helper()
	o := s3api.Options{
		Bucket: bucketName, Endpoint: r.endpoint, Region: stores.Region, PathStyle: true,
		AccessKeyID: stores.AccessKeyID, SecretAccessKey: stores.SecretAccessKey,
	}
	var b objstore.Bucket
	var err error
	if r.driver == "minio" {
		b, err = minio.New(o)
	} else {
		b, err = s3.New(o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// client makes a kgo client that ends with the test.
func client(t testing.TB, b *harness.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.Address),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.AlwaysRetryEOF(), // of a broker that is killed, too
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func admin(t testing.TB, b *harness.Broker) *kadm.Client {
	t.Helper()
	return kadm.NewClient(client(t, b))
}

// createTopic creates a topic; configs are key=value pairs.
func createTopic(t testing.TB, b *harness.Broker, topic string, partitions int32, configs map[string]string) {
	t.Helper()
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	a := admin(t, b)
	r, err := a.CreateTopic(within(t, time.Minute), partitions, 1, values, topic)
	if err = cmp.Or(err, r.Err); err != nil {
		t.Fatalf("create %s: %v (%s)", topic, err, r.ErrMessage)
	}
}

// tiered is a topic config with small segments of which little stays on the disk.
func tiered(more ...string) map[string]string {
	m := map[string]string{"segment.bytes": "1048576", "local.retention.bytes": "1048576", "remote.storage.enable": "true"}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

// auditWalk judges the bucket by what the running broker says of its manifests. What
// is dead has to be gone first: that takes the deletion delay and a sweep.
func auditWalk(t testing.TB, b *harness.Broker, bucket objstore.Bucket) verify.BucketReport {
	t.Helper()
	ctx := within(t, 5*time.Minute)
	harness.Until(t, time.Minute, "sweep of what no manifest names", func() error {
		return verify.Named(ctx, bucket, manifests(t, b))
	})
	r, err := verify.Bucket(ctx, bucket, manifests(t, b))
	if err != nil {
		t.Fatal(err)
	}
	faults(t, "bucket walk", r.Faults)
	return r
}

// manifests is what the running broker says is in the bucket.
func manifests(t testing.TB, b *harness.Broker) []verify.Partition {
	t.Helper()
	var partitions []verify.Partition
	for _, p := range b.Tiers(t, "") {
		if p.TieredEnd < 0 {
			continue
		}
		v := verify.Partition{Name: fmt.Sprintf("%s-%d", p.Topic, p.Partition), LogStart: p.LogStart, End: p.TieredEnd}
		for _, s := range p.Segments {
			v.Segments = append(v.Segments, verify.Segment{Key: s.Key, Base: s.Base, Next: s.Next, Size: s.Size})
		}
		partitions = append(partitions, v)
	}
	return partitions
}

func faults[F any](t testing.TB, what string, list []F) {
	t.Helper()
	for i, f := range list {
		if i == 20 {
			t.Errorf("%s: and %d more", what, len(list)-i)
			return
		}
		t.Errorf("%s: %v", what, f)
	}
}

// auditMetadata judges the bucket by the metadata of a broker that does not run: every
// object, every byte of it, and nothing besides (C14).
func auditMetadata(t testing.TB, b *harness.Broker, bucket objstore.Bucket) tiering.Report {
	t.Helper()
	ctx := within(t, 5*time.Minute)
	s, err := cluster.Open(ctx, cluster.Options{Dir: filepath.Join(b.Dir, "metadata")}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := tiering.AuditOptions{ClusterID: s.Image().ClusterID(), Content: true}
	for _, topic := range slices.Concat(s.Image().Topics(), s.Image().Deleting()) {
		for i := range topic.Partitions {
			p := tiering.Audited{Partition: tiering.PartitionID{Topic: topic.ID, Partition: int32(i)}}
			if p.Pointer, err = s.Tier().Pointer(ctx, p.Partition); err == nil {
				p.Intents, err = s.Tier().Intents(ctx, p.Partition)
			}
			if err != nil {
				t.Fatal(err)
			}
			o.Partition = append(o.Partition, p)
		}
	}
	r, err := tiering.Audit(ctx, bucket, o)
	if err != nil {
		t.Fatal(err)
	}
	faults(t, "audit", r.Findings)
	return r
}

// logFiles returns the sizes of the .log files of a partition on the broker's disk.
func logFiles(t testing.TB, b *harness.Broker, topic string, partition int32) []int64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(b.Dir, fmt.Sprintf("%s-%d", topic, partition), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for _, name := range names {
		if i, err := os.Stat(name); err == nil { // else it is gone by now
			sizes = append(sizes, i.Size())
		}
	}
	return sizes
}
