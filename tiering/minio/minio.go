// Package minio is the object store driver for MinIO and other S3-compatible servers,
// on minio-go. Amazon's own S3 is better served by package s3, which knows its
// credential chain. What both do the same way lives in objstore/s3api.
package minio

import (
	"errors"
	"fmt"
	"net/url"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// Options is s3api.Options; Endpoint, AccessKeyID and SecretAccessKey are required.
type Options = s3api.Options

// Bucket is an objstore.Bucket, objstore.Aborter and objstore.Checker on an
// S3-compatible server.
type Bucket struct{ *s3api.Bucket }

// New returns a Bucket. It does not talk to the server; Check does.
func New(o Options) (*Bucket, error) {
	o, err := o.Complete()
	if o.Endpoint == "" {
		err = errors.Join(err, errors.New("object store: the minio driver needs an endpoint, http://host:port or https://host:port"))
	}
	if o.AccessKeyID == "" {
		err = errors.Join(err, errors.New("object store: the minio driver needs an access key and a secret key"))
	}
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("object store: endpoint: %w", err)
	}
	lookup := miniogo.BucketLookupAuto
	if o.PathStyle {
		lookup = miniogo.BucketLookupPath
	}
	core, err := miniogo.NewCore(endpoint.Host, &miniogo.Options{
		Creds:        credentials.NewStaticV4(o.AccessKeyID, o.SecretAccessKey, o.SessionToken),
		Secure:       o.Secure(),
		Transport:    s3api.Transport(o),
		Region:       o.Region,
		BucketLookup: lookup,
		MaxRetries:   1, // one attempt: the caller knows what a repeat means
	})
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	core.SetAppInfo("varve", "1")
	return &Bucket{s3api.New(o, &client{core: core, options: o})}, nil
}
