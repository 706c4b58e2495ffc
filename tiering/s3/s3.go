// Package s3 is the object store driver for Amazon S3, on aws-sdk-go-v2: with its
// chain of credentials, regions, storage classes and KMS keys. It works with every
// server that understands its requests. What it has in common with package minio
// lives in objstore/s3api.
package s3

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// Options is s3api.Options. Without Endpoint it is Amazon's of the region; without keys
// the SDK looks for credentials: environment, shared files, web identity, container and
// instance roles.
type Options = s3api.Options

// Bucket is an objstore.Bucket, objstore.Aborter and objstore.Checker on S3.
type Bucket struct{ *s3api.Bucket }

// New returns a Bucket. It may read the SDK's own files and environment, but does not
// talk to the store; Check does.
func New(o Options) (*Bucket, error) {
	o, err := o.Complete()
	if err != nil {
		return nil, err
	}
	// The SDK's own client, for it is what AWS_CA_BUNDLE is applied to.
	httpClient := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { s3api.Tune(o, t) })
	sources := []func(*config.LoadOptions) error{
		config.WithRegion(o.Region),
		config.WithHTTPClient(httpClient),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // the caller knows what a repeat means
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if o.AccessKeyID != "" {
		static := credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, o.SessionToken)
		sources = append(sources, config.WithCredentialsProvider(static))
	}
	loaded, err := config.LoadDefaultConfig(context.Background(), sources...)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	sdk := s3.NewFromConfig(loaded, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	return &Bucket{s3api.New(o, &client{sdk: sdk, options: o})}, nil
}
