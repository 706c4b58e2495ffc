package stores

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// Driver is the New of a driver for S3 servers.
type Driver func(s3api.Options) (objstore.Bucket, error)

// prefixes gives every Bucket of a test run a place of its own.
var prefixes atomic.Int64

// Options are those of a Bucket of its own at a Store's endpoint, with the smallest parts.
func Options(endpoint string) s3api.Options {
	return s3api.Options{
		Endpoint: endpoint, Bucket: "varve-test", Prefix: fmt.Sprintf("p%d/", prefixes.Add(1)), Region: Region,
		AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, PathStyle: true,
		SinglePutSize: s3api.MinPartSize, PartSize: s3api.MinPartSize, CreateBucket: true,
	}
}

// RunDriver is all that a driver has to pass: the suite of every Bucket against each
// server, with and without checksums, and the faults.
func RunDriver(t *testing.T, open Driver) {
	t.Run("BucketPassesTheSuiteOnMinIO", func(t *testing.T) {
		runSuite(t, open, MinIO(t), s3api.ChecksumWhenRequired, 2100)
	})
	t.Run("BucketPassesTheSuiteOnVersityGW", func(t *testing.T) {
		runSuite(t, open, VersityGW(t), s3api.ChecksumWhenRequired, 2100)
	})
	t.Run("BucketPassesTheSuiteWithChecksums", func(t *testing.T) {
		runSuite(t, open, MinIO(t), s3api.ChecksumWhenSupported, 1100)
	})
	t.Run("FaultsOfTheStore", func(t *testing.T) { RunFaults(t, MinIO(t), open.open) })
}

// open is the driver for tests: it does not fail.
func (d Driver) open(t *testing.T, o s3api.Options) objstore.Bucket {
	t.Helper()
	b, err := d(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// runSuite runs the suite of every Bucket with so many keys in its longest listing: more
// than two pages, or one.
func runSuite(t *testing.T, d Driver, store *Store, checksum s3api.Checksum, keys int) {
	objstoretest.Run(t, objstoretest.Suite{
		PartSize: s3api.MinPartSize,
		Keys:     keys,
		Open: func(t *testing.T) objstore.Bucket {
			o := Options(store.Endpoint)
			o.Checksum = checksum
			b := d.open(t, o)
			if err := b.(objstore.Checker).Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			return b
		},
	})
}

// Refusal is a change of good Options with which a driver's New fails.
type Refusal struct {
	Name   string
	Change func(*s3api.Options)
	Want   string // part of the error
}

// RunRefusals makes sure that New refuses what no driver can work with, and what this one
// cannot.
func RunRefusals(t *testing.T, open Driver, own ...Refusal) {
	for _, r := range append([]Refusal{
		{"no secret", func(o *s3api.Options) { o.SecretAccessKey = "" }, "needed both"},
		{"endpoint without scheme", func(o *s3api.Options) { o.Endpoint = "localhost:9000" }, "not of the form"},
		{"no bucket", func(o *s3api.Options) { o.Bucket = "" }, "bucket name"},
		{"small parts", func(o *s3api.Options) { o.PartSize = 1 << 20 }, "part size"},
		{"unknown checksum", func(o *s3api.Options) { o.Checksum = "md5" }, "checksum"},
	}, own...) {
		o := Options("http://127.0.0.1:9000")
		r.Change(&o)
		if _, err := open(o); err == nil || !strings.Contains(err.Error(), r.Want) {
			t.Errorf("%s: New = %v, want an error with %q", r.Name, err, r.Want)
		}
	}
}
