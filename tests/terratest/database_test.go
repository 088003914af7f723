package terratest

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDatabase(t *testing.T) {
	t.Parallel()
	options, _ := apply(t, "database", nil)
	ctx, configuration := account(t)
	client := rds.NewFromConfig(configuration)

	t.Run("the instance is encrypted, private, in two zones and uses IAM", func(t *testing.T) {
		answer := must[*rds.DescribeDBInstancesOutput](t, "instance")(client.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{
			DBInstanceIdentifier: aws.String(terraform.Output(t, options, "database_identifier")),
		}))
		require.Len(t, answer.DBInstances, 1)
		instance := answer.DBInstances[0]
		assert.Equal(t, "postgres", aws.ToString(instance.Engine))
		assert.True(t, strings.HasPrefix(aws.ToString(instance.EngineVersion), "16"), "version %s", aws.ToString(instance.EngineVersion))
		assert.True(t, aws.ToBool(instance.StorageEncrypted), "storage must be encrypted")
		assert.Equal(t, terraform.Output(t, options, "kms_key_arn"), aws.ToString(instance.KmsKeyId))
		assert.False(t, aws.ToBool(instance.PubliclyAccessible), "the instance must not have a public address")
		assert.True(t, aws.ToBool(instance.MultiAZ), "there must be a standby in a second zone")
		assert.True(t, aws.ToBool(instance.IAMDatabaseAuthenticationEnabled), "IAM authentication must be enabled")
		assert.True(t, aws.ToBool(instance.CopyTagsToSnapshot), "snapshots must have the instance's tags")
		assert.Equal(t, int32(7), aws.ToInt32(instance.BackupRetentionPeriod))
		assert.Equal(t, "pmp_admin", aws.ToString(instance.MasterUsername))
	})

	t.Run("the proxy requires TLS and IAM", func(t *testing.T) {
		answer := must[*rds.DescribeDBProxiesOutput](t, "proxy")(client.DescribeDBProxies(ctx, &rds.DescribeDBProxiesInput{
			DBProxyName: aws.String(terraform.Output(t, options, "proxy_name")),
		}))
		require.Len(t, answer.DBProxies, 1)
		proxy := answer.DBProxies[0]
		assert.True(t, aws.ToBool(proxy.RequireTLS), "the proxy must require TLS")
		assert.Equal(t, int32(180), aws.ToInt32(proxy.IdleClientTimeout))
		require.Len(t, proxy.Auth, 1, "the proxy must have exactly one user")
		assert.Equal(t, "REQUIRED", string(proxy.Auth[0].IAMAuth))
		assert.Equal(t, terraform.OutputMap(t, options, "secret_arn_by_role")["pmp_app"], aws.ToString(proxy.Auth[0].SecretArn))
	})

	t.Run("the proxy's pool leaves connections for others and waits briefly", func(t *testing.T) {
		answer := must[*rds.DescribeDBProxyTargetGroupsOutput](t, "pool")(client.DescribeDBProxyTargetGroups(ctx, &rds.DescribeDBProxyTargetGroupsInput{
			DBProxyName: aws.String(terraform.Output(t, options, "proxy_name")),
		}))
		require.Len(t, answer.TargetGroups, 1)
		pool := answer.TargetGroups[0].ConnectionPoolConfig
		assert.Equal(t, int32(60), aws.ToInt32(pool.MaxConnectionsPercent))
		assert.Equal(t, int32(4), aws.ToInt32(pool.ConnectionBorrowTimeout))
	})

	t.Run("secrets are empty until the migration job writes them", func(t *testing.T) {
		secrets := secretsmanager.NewFromConfig(configuration)
		for role, arn := range terraform.OutputMap(t, options, "secret_arn_by_role") {
			_, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(arn)})
			var missing *types.ResourceNotFoundException
			assert.ErrorAs(t, err, &missing, "the secret of %s holds nothing", role)
		}
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})
}
