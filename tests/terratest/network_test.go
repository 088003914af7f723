package terratest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	options, _ := apply(t, "network", nil)
	ctx, configuration := account(t)
	client := ec2.NewFromConfig(configuration)
	vpc := terraform.Output(t, options, "vpc_id")
	inVpc := []types.Filter{{Name: aws.String("vpc-id"), Values: []string{vpc}}}
	groups := terraform.OutputMap(t, options, "security_group_id_by_role")

	t.Run("private subnets give no public addresses and route through NAT", func(t *testing.T) {
		private := terraform.OutputList(t, options, "private_subnet_ids")
		subnets := must[*ec2.DescribeSubnetsOutput](t, "subnets")(client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: private}))
		zones := map[string]bool{}
		for _, subnet := range subnets.Subnets {
			assert.False(t, aws.ToBool(subnet.MapPublicIpOnLaunch), "%s", *subnet.SubnetId)
			zones[aws.ToString(subnet.AvailabilityZone)] = true
		}
		assert.Len(t, zones, 2, "there must be one private subnet per zone")
		for _, subnet := range private {
			assert.Equal(t, "nat", defaultRoute(t, client, subnet), "default route of %s", subnet)
		}
	})

	t.Run("database subnets have no default route", func(t *testing.T) {
		subnets := must[*ec2.DescribeSubnetsOutput](t, "subnets")(client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: append(inVpc,
			types.Filter{Name: aws.String("cidr-block"), Values: []string{"10.77.128.0/24", "10.77.129.0/24"}})}))
		require.Len(t, subnets.Subnets, 2)
		for _, subnet := range subnets.Subnets {
			assert.Equal(t, "none", defaultRoute(t, client, *subnet.SubnetId), "default route of %s", *subnet.SubnetId)
		}
	})

	t.Run("S3 and SQS have VPC endpoints with a policy", func(t *testing.T) {
		endpoints := must[*ec2.DescribeVpcEndpointsOutput](t, "endpoints")(client.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{Filters: inVpc}))
		kinds := map[string]types.VpcEndpointType{}
		for _, endpoint := range endpoints.VpcEndpoints {
			kinds[aws.ToString(endpoint.ServiceName)] = endpoint.VpcEndpointType
			assert.Contains(t, aws.ToString(endpoint.PolicyDocument), "aws:PrincipalAccount", "%s", aws.ToString(endpoint.ServiceName))
		}
		assert.Equal(t, map[string]types.VpcEndpointType{
			"com.amazonaws.eu-west-1.s3":  types.VpcEndpointTypeGateway,
			"com.amazonaws.eu-west-1.sqs": types.VpcEndpointTypeInterface,
		}, kinds)
	})

	t.Run("only the proxy and the runner can reach the database", func(t *testing.T) {
		answer := must[*ec2.DescribeSecurityGroupsOutput](t, "groups")(client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{groups["database"]}}))
		require.Len(t, answer.SecurityGroups, 1)
		sources := []string{}
		for _, permission := range answer.SecurityGroups[0].IpPermissions {
			assert.Equal(t, int32(5432), aws.ToInt32(permission.FromPort))
			assert.Equal(t, int32(5432), aws.ToInt32(permission.ToPort))
			assert.Empty(t, permission.IpRanges, "an address range must not be able to reach the database")
			for _, pair := range permission.UserIdGroupPairs {
				sources = append(sources, aws.ToString(pair.GroupId))
			}
		}
		assert.ElementsMatch(t, []string{groups["proxy"], groups["runner"]}, sources)
	})

	// Terraform leaves the group as AWS creates it: to manage it, the delivery identity would have to tag it (ADR 0405).
	t.Run("nothing uses the default security group", func(t *testing.T) {
		answer := must[*ec2.DescribeSecurityGroupsOutput](t, "groups")(client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: append(inVpc,
			types.Filter{Name: aws.String("group-name"), Values: []string{"default"}})}))
		require.Len(t, answer.SecurityGroups, 1)
		unused := aws.ToString(answer.SecurityGroups[0].GroupId)
		for role, group := range groups {
			assert.NotEqual(t, unused, group, "the role %s has the default group", role)
		}
		endpoints := must[*ec2.DescribeVpcEndpointsOutput](t, "endpoints")(client.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{Filters: inVpc}))
		used := []string{}
		for _, endpoint := range endpoints.VpcEndpoints {
			for _, group := range endpoint.Groups {
				used = append(used, aws.ToString(group.GroupId))
			}
		}
		assert.NotEmpty(t, used, "the interface endpoint must have a group")
		assert.NotContains(t, used, unused)
	})

	t.Run("the flow log covers all traffic", func(t *testing.T) {
		logs := must[*ec2.DescribeFlowLogsOutput](t, "flow logs")(client.DescribeFlowLogs(ctx, &ec2.DescribeFlowLogsInput{}))
		kinds := []types.TrafficType{}
		for _, log := range logs.FlowLogs {
			if aws.ToString(log.ResourceId) == vpc {
				kinds = append(kinds, log.TrafficType)
			}
		}
		assert.Equal(t, []types.TrafficType{types.TrafficTypeAll}, kinds)
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})
}

// defaultRoute returns the target of a subnet's route for 0.0.0.0/0: nat, internet or none.
func defaultRoute(t *testing.T, client *ec2.Client, subnet string) string {
	t.Helper()
	answer := must[*ec2.DescribeRouteTablesOutput](t, "route tables")(client.DescribeRouteTables(t.Context(), &ec2.DescribeRouteTablesInput{
		Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{subnet}}},
	}))
	for _, table := range answer.RouteTables {
		for _, route := range table.Routes {
			if aws.ToString(route.DestinationCidrBlock) != "0.0.0.0/0" {
				continue
			}
			if route.NatGatewayId != nil {
				return "nat"
			}
			return "internet"
		}
	}
	return "none"
}
