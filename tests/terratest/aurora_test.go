package terratest

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cluster holds the outputs of the fixture.
type cluster struct {
	Identifier   string            `json:"database_identifier"`
	Engine       string            `json:"engine"`
	Host         string            `json:"database_host"`
	ResourceID   string            `json:"database_resource_id"`
	ProxyName    string            `json:"proxy_name"`
	ProxyHost    string            `json:"proxy_host"`
	ReaderHost   string            `json:"reader_host"`
	MasterSecret string            `json:"master_secret_arn"`
	Secrets      map[string]string `json:"secret_arn_by_role"`
	Key          string            `json:"kms_key_arn"`
}

func TestAurora(t *testing.T) {
	t.Parallel()
	ctx, configuration := account(t)
	client := rds.NewFromConfig(configuration)
	var made cluster
	// Cleanups run in reverse order: this one after the destruction.
	t.Cleanup(func() { assertGone(t, client, secretsmanager.NewFromConfig(configuration), made) })
	options, name := apply(t, "aurora", nil)
	terraform.OutputStruct(t, options, "database", &made)

	described := must[*rds.DescribeDBClustersOutput](t, "cluster")(client.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{
		DBClusterIdentifier: aws.String(made.Identifier),
	}))
	require.Len(t, described.DBClusters, 1)
	answer := described.DBClusters[0]

	t.Run("the cluster is Serverless v2, encrypted and uses IAM", func(t *testing.T) {
		assert.Equal(t, "aurora-postgresql", aws.ToString(answer.Engine))
		assert.True(t, strings.HasPrefix(aws.ToString(answer.EngineVersion), "16"), "version %s", aws.ToString(answer.EngineVersion))
		assert.Equal(t, "provisioned", aws.ToString(answer.EngineMode), "Serverless v2 is a class of a provisioned cluster")
		require.NotNil(t, answer.ServerlessV2ScalingConfiguration)
		assert.InDelta(t, 0.5, aws.ToFloat64(answer.ServerlessV2ScalingConfiguration.MinCapacity), 0)
		assert.InDelta(t, 8, aws.ToFloat64(answer.ServerlessV2ScalingConfiguration.MaxCapacity), 0)
		assert.Equal(t, "aurora-iopt1", aws.ToString(answer.StorageType))
		assert.True(t, aws.ToBool(answer.StorageEncrypted), "storage must be encrypted")
		assert.Equal(t, made.Key, aws.ToString(answer.KmsKeyId))
		assert.True(t, aws.ToBool(answer.IAMDatabaseAuthenticationEnabled), "IAM authentication must be enabled")
		assert.True(t, aws.ToBool(answer.CopyTagsToSnapshot), "snapshots must have the cluster's tags")
		assert.Equal(t, int32(7), aws.ToInt32(answer.BackupRetentionPeriod))
		assert.Equal(t, []string{"postgresql"}, answer.EnabledCloudwatchLogsExports)
		assert.Equal(t, types.DatabaseInsightsModeStandard, answer.DatabaseInsightsMode)
	})

	t.Run("a writer and a reader have no public address", func(t *testing.T) {
		writers := 0
		for _, member := range answer.DBClusterMembers {
			if aws.ToBool(member.IsClusterWriter) {
				writers++
			}
			found := must[*rds.DescribeDBInstancesOutput](t, "instance")(client.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{
				DBInstanceIdentifier: member.DBInstanceIdentifier,
			}))
			require.Len(t, found.DBInstances, 1)
			assert.Equal(t, "db.serverless", aws.ToString(found.DBInstances[0].DBInstanceClass))
			assert.False(t, aws.ToBool(found.DBInstances[0].PubliclyAccessible), "%s", aws.ToString(member.DBInstanceIdentifier))
			assert.Equal(t, int32(1), aws.ToInt32(member.PromotionTier), "a reader must be as large as the writer")
		}
		assert.Len(t, answer.DBClusterMembers, 2)
		assert.Equal(t, 1, writers)
	})

	t.Run("the cluster's parameters require TLS and hide personal data", func(t *testing.T) {
		answer := must[*rds.DescribeDBClusterParametersOutput](t, "parameters")(client.DescribeDBClusterParameters(ctx, &rds.DescribeDBClusterParametersInput{
			DBClusterParameterGroupName: answer.DBClusterParameterGroup, Source: aws.String("user"),
		}))
		values := map[string]string{}
		for _, parameter := range answer.Parameters {
			values[aws.ToString(parameter.ParameterName)] = aws.ToString(parameter.ParameterValue)
		}
		assert.Equal(t, "1", values["rds.force_ssl"])
		assert.Equal(t, "0", values["log_parameter_max_length"])
		assert.NotContains(t, values, "wal_compression", "Aurora's storage takes no full pages")
	})

	t.Run("the proxy leads to the cluster, and its second endpoint to the readers alone", func(t *testing.T) {
		targets := must[*rds.DescribeDBProxyTargetsOutput](t, "targets")(client.DescribeDBProxyTargets(ctx, &rds.DescribeDBProxyTargetsInput{
			DBProxyName: aws.String(made.ProxyName),
		}))
		require.NotEmpty(t, targets.Targets)
		for _, target := range targets.Targets {
			assert.Contains(t, []string{aws.ToString(target.RdsResourceId), aws.ToString(target.TrackedClusterId)}, made.Identifier)
		}
		endpoints := must[*rds.DescribeDBProxyEndpointsOutput](t, "endpoints")(client.DescribeDBProxyEndpoints(ctx, &rds.DescribeDBProxyEndpointsInput{
			DBProxyName: aws.String(made.ProxyName), DBProxyEndpointName: aws.String(name + "-readers"),
		}))
		require.Len(t, endpoints.DBProxyEndpoints, 1)
		assert.Equal(t, types.DBProxyEndpointTargetRoleReadOnly, endpoints.DBProxyEndpoints[0].TargetRole)
		assert.Equal(t, aws.ToString(endpoints.DBProxyEndpoints[0].Endpoint), made.ReaderHost)
		assert.NotEqual(t, made.ProxyHost, made.ReaderHost)
	})

	t.Run("the outputs name the cluster", func(t *testing.T) {
		assert.Equal(t, "aurora-postgresql", made.Engine)
		assert.Equal(t, name, made.Identifier)
		assert.Equal(t, aws.ToString(answer.Endpoint), made.Host)
		assert.Equal(t, aws.ToString(answer.DbClusterResourceId), made.ResourceID)
		require.NotNil(t, answer.MasterUserSecret)
		assert.Equal(t, aws.ToString(answer.MasterUserSecret.SecretArn), made.MasterSecret)
		assert.Equal(t, made.Key, aws.ToString(answer.MasterUserSecret.KmsKeyId))
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})
}

// assertGone checks that nothing of a destroyed cluster is left: neither it nor its instances, parameters, proxy and
// secrets.
func assertGone(t *testing.T, client *rds.Client, secrets *secretsmanager.Client, made cluster) {
	t.Helper()
	// The test's own context has ended.
	ctx := context.Background()
	prefix := "pmp-aurora"
	for _, found := range must[*rds.DescribeDBClustersOutput](t, "clusters")(client.DescribeDBClusters(ctx, nil)).DBClusters {
		assert.NotEqual(t, made.Identifier, aws.ToString(found.DBClusterIdentifier), "the cluster is left")
	}
	for _, found := range must[*rds.DescribeDBInstancesOutput](t, "instances")(client.DescribeDBInstances(ctx, nil)).DBInstances {
		assert.NotEqual(t, made.Identifier, aws.ToString(found.DBClusterIdentifier), "%s is left", aws.ToString(found.DBInstanceIdentifier))
	}
	for _, found := range must[*rds.DescribeDBClusterParameterGroupsOutput](t, "parameters")(client.DescribeDBClusterParameterGroups(ctx, nil)).DBClusterParameterGroups {
		assert.False(t, strings.HasPrefix(aws.ToString(found.DBClusterParameterGroupName), prefix), "%s is left", aws.ToString(found.DBClusterParameterGroupName))
	}
	for _, found := range must[*rds.DescribeDBProxyEndpointsOutput](t, "endpoints")(client.DescribeDBProxyEndpoints(ctx, nil)).DBProxyEndpoints {
		assert.NotEqual(t, made.ProxyName, aws.ToString(found.DBProxyName), "%s is left", aws.ToString(found.DBProxyEndpointName))
	}
	for _, arn := range append([]string{made.MasterSecret}, made.Secrets["pmp_app"], made.Secrets["pmp_migrator"]) {
		_, err := secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(arn)})
		assert.Error(t, err, "%s is left", arn)
	}
}
