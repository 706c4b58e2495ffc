package s3api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
)

// Checksum says how uploads are guarded beyond what every S3 server understands.
type Checksum string

const (
	// ChecksumWhenRequired sends no checksum header, since several S3-compatible
	// servers refuse them. TLS guards the bytes on their way; on plain HTTP the
	// signature covers their SHA-256.
	ChecksumWhenRequired Checksum = "when_required"
	// ChecksumWhenSupported sends the CRC32C of every object and part, which the store
	// verifies, keeps and repeats in its answer: less CPU than SHA-256. It costs a
	// second pass over the body, as the checksum goes first; there is no trailer.
	ChecksumWhenSupported Checksum = "when_supported"
)

// Sizes in bytes and their reasons.
const (
	// MinPartSize is S3's own: smaller parts are refused, save for the last.
	MinPartSize = 5 << 20
	// MaxParts is S3's own limit per object.
	MaxParts = 10_000
	// DefaultPartSize repeats little after a reset and asks for few requests.
	DefaultPartSize = 64 << 20
	// DefaultSinglePutSize is where one connection at 85 MB/s has been busy for three
	// seconds; above it parts in parallel are faster and a reset costs less.
	DefaultSinglePutSize = 256 << 20
	// DefaultPartsInFlight fills a 2.5 Gb/s link at that speed; segments go up beside
	// each other as well.
	DefaultPartsInFlight = 4
	// MaxDeleteBatch is S3's own limit of keys per DeleteObjects.
	MaxDeleteBatch = 1000
	// DefaultResponseHeaderTimeout is how long a store may think after it has the
	// whole request; the slowest is to complete an upload of many parts.
	DefaultResponseHeaderTimeout = time.Minute
)

// Options describes a bucket on an S3 server. Bucket is required; zero values of the
// rest mean the default.
type Options struct {
	// Bucket is the bucket's name.
	Bucket string
	// Prefix goes before every key, as "name/" does. It is no part of any key here.
	Prefix string
	// Endpoint is "http://host:port" or "https://host:port". Empty is AWS, for the
	// driver that knows it.
	Endpoint string
	// Region signs requests; "us-east-1" if empty.
	Region string
	// AccessKeyID and SecretAccessKey are static credentials, SessionToken theirs if
	// they are temporary. All empty leaves it to the driver.
	AccessKeyID, SecretAccessKey, SessionToken string
	// PathStyle puts the bucket into the path instead of the host name. Servers by
	// address need it.
	PathStyle bool
	// StorageClass is sent with every object; the bucket's default if empty.
	StorageClass string
	// KMSKeyID asks for server-side encryption with that KMS key; none if empty.
	KMSKeyID string
	// Checksum is ChecksumWhenRequired if empty.
	Checksum Checksum
	// SinglePutSize is the largest body, in bytes, that goes up with one request.
	SinglePutSize int64
	// PartSize is the size of each part of larger bodies, in bytes, save the last.
	PartSize int64
	// PartsInFlight is how many parts of one Put are under way at once.
	PartsInFlight int
	// DeleteBatch is how many keys one request deletes; 1 for stores that do not know
	// DeleteObjects. A store that refuses it is noticed as well.
	DeleteBatch int
	// CreateBucket lets Check create the bucket when it is missing.
	CreateBucket bool
	// ResponseHeaderTimeout bounds the wait for an answer once a request is written.
	// The context bounds everything.
	ResponseHeaderTimeout time.Duration
	// TLS adds certificates or pins; nil trusts what the system trusts.
	TLS *tls.Config
}

// Complete returns o with its defaults filled in. The error names every fault at once.
func (o Options) Complete() (Options, error) {
	setDefault(&o.Region, "us-east-1")
	setDefault(&o.Checksum, ChecksumWhenRequired)
	setDefault(&o.SinglePutSize, DefaultSinglePutSize)
	setDefault(&o.PartSize, DefaultPartSize)
	setDefault(&o.PartsInFlight, DefaultPartsInFlight)
	setDefault(&o.DeleteBatch, MaxDeleteBatch)
	setDefault(&o.ResponseHeaderTimeout, DefaultResponseHeaderTimeout)
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("object store: "+format, args...))
		}
	}
	refuse(o.Bucket == "" || strings.ContainsAny(o.Bucket, "/ "), "bucket name %q is empty or has a slash or a space", o.Bucket)
	refuse(objstore.CheckPrefix(o.Prefix) != nil, "prefix %q has characters that keys may not have", o.Prefix)
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		refuse(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "",
			"endpoint %q is not of the form http://host:port or https://host:port", o.Endpoint)
	}
	refuse((o.AccessKeyID == "") != (o.SecretAccessKey == ""), "access key and secret key are needed both, or none")
	refuse(o.Checksum != ChecksumWhenRequired && o.Checksum != ChecksumWhenSupported,
		"checksum %q is neither %s nor %s", o.Checksum, ChecksumWhenRequired, ChecksumWhenSupported)
	refuse(o.SinglePutSize < 1 || o.SinglePutSize > 5<<30, "single put size %d is not within 1 byte and 5 GiB", o.SinglePutSize)
	refuse(o.PartSize < MinPartSize || o.PartSize > 5<<30, "part size %d is not within 5 MiB and 5 GiB", o.PartSize)
	refuse(o.PartsInFlight < 1, "parts in flight %d are fewer than 1", o.PartsInFlight)
	refuse(o.DeleteBatch < 1 || o.DeleteBatch > MaxDeleteBatch, "delete batch %d is not within 1 and %d", o.DeleteBatch, MaxDeleteBatch)
	return o, errors.Join(faults...)
}

// Secure tells whether requests go over TLS.
func (o Options) Secure() bool { return !strings.HasPrefix(o.Endpoint, "http://") }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
