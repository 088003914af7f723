package terratest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The part of an HTTP API's event that the function reads.
const healthRequest = `{
	"version": "2.0", "routeKey": "GET /v1/health", "rawPath": "/v1/health", "rawQueryString": "", "headers": {},
	"requestContext": {"http": {"method": "GET", "path": "/v1/health"}, "routeKey": "GET /v1/health"},
	"isBase64Encoded": false
}`

func TestFunction(t *testing.T) {
	t.Parallel()
	path := given(t, "PMP_TERRATEST_CODE")
	options, name := apply(t, "function", map[string]any{"code_path": path})
	ctx, configuration := account(t)
	client := lambda.NewFromConfig(configuration)
	digest := sha256.Sum256(must[[]byte](t, "code")(os.ReadFile(path)))

	t.Run("the function runs the built zip in private subnets within its limits", func(t *testing.T) {
		answer := must[*lambda.GetFunctionOutput](t, "function")(client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}))
		function := answer.Configuration
		assert.Equal(t, base64.StdEncoding.EncodeToString(digest[:]), aws.ToString(function.CodeSha256))
		assert.Equal(t, "python3.13", string(function.Runtime))
		require.Len(t, function.Architectures, 1)
		assert.Equal(t, "arm64", string(function.Architectures[0]))
		assert.Equal(t, int32(120), aws.ToInt32(function.Timeout))
		assert.Equal(t, "Active", string(function.TracingConfig.Mode))
		assert.Equal(t, terraform.Output(t, options, "role_arn"), aws.ToString(function.Role))
		assert.Len(t, function.VpcConfig.SubnetIds, 2)
		assert.Len(t, function.VpcConfig.SecurityGroupIds, 1)
		require.NotNil(t, answer.Concurrency, "no reserved concurrency: the function could exhaust the database")
		assert.Equal(t, int32(5), aws.ToInt32(answer.Concurrency.ReservedConcurrentExecutions))
		for variable := range function.Environment.Variables {
			assert.NotContains(t, strings.ToUpper(variable), "PASSWORD", "environment variables must not hold passwords")
		}
	})

	t.Run("failed events are retried and then kept in a queue", func(t *testing.T) {
		answer := must[*lambda.GetFunctionEventInvokeConfigOutput](t, "asynchronous invocations")(client.GetFunctionEventInvokeConfig(ctx,
			&lambda.GetFunctionEventInvokeConfigInput{FunctionName: aws.String(name), Qualifier: aws.String("live")}))
		assert.Equal(t, int32(2), aws.ToInt32(answer.MaximumRetryAttempts))
		queue := aws.ToString(answer.DestinationConfig.OnFailure.Destination)
		assert.True(t, strings.HasSuffix(queue, ":"+terraform.Output(t, options, "failed_events_queue_name")), "%s", queue)
	})

	t.Run("the health check needs no database and names the release", func(t *testing.T) {
		answer := must[*lambda.InvokeOutput](t, "invocation")(client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Qualifier: aws.String("live"), Payload: []byte(healthRequest)}))
		require.Nil(t, answer.FunctionError, "%s", answer.Payload)
		var response struct {
			StatusCode int    `json:"statusCode"`
			Body       string `json:"body"`
		}
		require.NoError(t, json.Unmarshal(answer.Payload, &response), "%s", answer.Payload)
		assert.Equal(t, 200, response.StatusCode, "%s", response.Body)
		assert.Contains(t, response.Body, "0123456789abcdef0123456789abcdef01234567")
	})

	t.Run("an event of an unknown kind is an error", func(t *testing.T) {
		answer := must[*lambda.InvokeOutput](t, "invocation")(client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Payload: []byte(`{"task": "unheard of"}`)}))
		assert.NotNil(t, answer.FunctionError, "%s", answer.Payload)
	})

	t.Run("uploads are encrypted, private and versioned, and they expire", func(t *testing.T) {
		store := s3.NewFromConfig(configuration, func(o *s3.Options) { o.UsePathStyle = true })
		bucket := aws.String(terraform.Output(t, options, "imports_bucket_name"))
		encryption := must[*s3.GetBucketEncryptionOutput](t, "encryption")(store.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: bucket}))
		rule := encryption.ServerSideEncryptionConfiguration.Rules[0]
		assert.Equal(t, terraform.Output(t, options, "kms_key_arn"), aws.ToString(rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID))
		assert.True(t, aws.ToBool(rule.BucketKeyEnabled), "without a bucket key, each object costs a request to KMS")
		access := must[*s3.GetPublicAccessBlockOutput](t, "public access")(store.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})).PublicAccessBlockConfiguration
		for _, blocked := range []*bool{access.BlockPublicAcls, access.BlockPublicPolicy, access.IgnorePublicAcls, access.RestrictPublicBuckets} {
			assert.True(t, aws.ToBool(blocked))
		}
		versioning := must[*s3.GetBucketVersioningOutput](t, "versioning")(store.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bucket}))
		assert.Equal(t, "Enabled", string(versioning.Status))
		lifecycle := must[*s3.GetBucketLifecycleConfigurationOutput](t, "lifecycle")(store.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket}))
		days := map[string]int32{}
		for _, rule := range lifecycle.Rules {
			days[aws.ToString(rule.Filter.Prefix)] = aws.ToInt32(rule.Expiration.Days)
		}
		assert.Equal(t, map[string]int32{"": 7, "exports/users/": 1}, days)
	})

	t.Run("only objects under imports/ send to the jobs queue", func(t *testing.T) {
		store := s3.NewFromConfig(configuration, func(o *s3.Options) { o.UsePathStyle = true })
		answer := must[*s3.GetBucketNotificationConfigurationOutput](t, "notifications")(store.GetBucketNotificationConfiguration(ctx,
			&s3.GetBucketNotificationConfigurationInput{Bucket: aws.String(terraform.Output(t, options, "imports_bucket_name"))}))
		assert.Empty(t, answer.LambdaFunctionConfigurations)
		require.Len(t, answer.QueueConfigurations, 1)
		notification := answer.QueueConfigurations[0]
		assert.True(t, strings.HasSuffix(aws.ToString(notification.QueueArn), ":"+terraform.Output(t, options, "jobs_queue_name")))
		require.Len(t, notification.Filter.Key.FilterRules, 1)
		assert.Equal(t, "imports/", aws.ToString(notification.Filter.Key.FilterRules[0].Value))
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})

	t.Run("without a digest Terraform packages the same files", func(t *testing.T) {
		delete(options.Vars, "code_path")
		terraform.Apply(t, options)
		store := s3.NewFromConfig(configuration, func(o *s3.Options) { o.UsePathStyle = true })
		bucket := aws.String(name + "-code")
		listed := must[*s3.ListObjectsV2Output](t, "packages")(store.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("lambda/")}))
		require.Len(t, listed.Contents, 1, "the promoted zip is gone, the packaged one is there")
		object := must[*s3.GetObjectOutput](t, "package")(store.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: listed.Contents[0].Key}))
		packaged := must[[]byte](t, "package")(io.ReadAll(object.Body))
		assert.Equal(t, files(t, must[[]byte](t, "code")(os.ReadFile(path))), files(t, packaged))

		function := must[*lambda.GetFunctionOutput](t, "function")(client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}))
		deployed := sha256.Sum256(packaged)
		assert.Equal(t, base64.StdEncoding.EncodeToString(deployed[:]), aws.ToString(function.Configuration.CodeSha256))
		answer := must[*lambda.InvokeOutput](t, "invocation")(client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Payload: []byte(healthRequest)}))
		require.Nil(t, answer.FunctionError, "%s", answer.Payload)
		assertUnchanged(t, options)
	})
}

// files returns the mode and the contents' digest of every entry of a zip, by name.
func files(t *testing.T, code []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, entry := range must[*zip.Reader](t, "zip")(zip.NewReader(bytes.NewReader(code), int64(len(code)))).File {
		reader := must[io.ReadCloser](t, entry.Name)(entry.Open())
		content := must[[]byte](t, entry.Name)(io.ReadAll(reader))
		found[entry.Name] = fmt.Sprintf("%v %s %x", entry.Mode(), entry.Modified.UTC(), sha256.Sum256(content))
	}
	return found
}
