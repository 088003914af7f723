package terratest

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunner(t *testing.T) {
	t.Parallel()
	options, name := apply(t, "runner", nil)
	ctx, configuration := account(t)

	t.Run("the group keeps one instance of the launch template in private subnets", func(t *testing.T) {
		client := autoscaling.NewFromConfig(configuration)
		answer := must[*autoscaling.DescribeAutoScalingGroupsOutput](t, "group")(client.DescribeAutoScalingGroups(ctx,
			&autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{terraform.Output(t, options, "autoscaling_group_name")}}))
		require.Len(t, answer.AutoScalingGroups, 1)
		group := answer.AutoScalingGroups[0]
		assert.Equal(t, []int32{1, 1, 1}, []int32{aws.ToInt32(group.MinSize), aws.ToInt32(group.DesiredCapacity), aws.ToInt32(group.MaxSize)})
		assert.ElementsMatch(t, terraform.OutputList(t, options, "subnet_ids"), strings.Split(aws.ToString(group.VPCZoneIdentifier), ","))
		require.NotNil(t, group.LaunchTemplate)
		template := launchTemplate(t, ec2.NewFromConfig(configuration), name+"-runner")
		assert.Equal(t, aws.ToString(template.LaunchTemplateId), aws.ToString(group.LaunchTemplate.LaunchTemplateId))
	})

	t.Run("the instance is private and protects its metadata service and disk", func(t *testing.T) {
		data := launchTemplate(t, ec2.NewFromConfig(configuration), name+"-runner").LaunchTemplateData
		assert.Equal(t, "required", string(data.MetadataOptions.HttpTokens))
		assert.Equal(t, int32(1), aws.ToInt32(data.MetadataOptions.HttpPutResponseHopLimit))
		for _, network := range data.NetworkInterfaces {
			assert.False(t, aws.ToBool(network.AssociatePublicIpAddress))
		}
		require.Len(t, data.BlockDeviceMappings, 1)
		assert.True(t, aws.ToBool(data.BlockDeviceMappings[0].Ebs.Encrypted), "the disk must be encrypted")
	})

	t.Run("user data names the token's parameter but not the token", func(t *testing.T) {
		data := launchTemplate(t, ec2.NewFromConfig(configuration), name+"-runner").LaunchTemplateData
		text := string(must[[]byte](t, "user data")(base64.StdEncoding.DecodeString(aws.ToString(data.UserData))))
		assert.True(t, strings.HasPrefix(text, "#cloud-config\n"), "%.40s", text)
		assert.Contains(t, text, "PMP_TOKEN_PARAMETER="+terraform.Output(t, options, "token_parameter_name"))
		assert.Contains(t, text, "PMP_GITLAB_URL=https://gitlab.example.com")
		assert.NotContains(t, text, "glrt-")
	})

	t.Run("the role has the boundary and reads only one parameter", func(t *testing.T) {
		client := iam.NewFromConfig(configuration)
		role := aws.String(terraform.Output(t, options, "role_name"))
		answer := must[*iam.GetRoleOutput](t, "role")(client.GetRole(ctx, &iam.GetRoleInput{RoleName: role}))
		assert.Equal(t, "/pmp/", aws.ToString(answer.Role.Path))
		require.NotNil(t, answer.Role.PermissionsBoundary)
		assert.Equal(t, terraform.Output(t, options, "boundary_arn"), aws.ToString(answer.Role.PermissionsBoundary.PermissionsBoundaryArn))
		policies := must[*iam.ListRolePoliciesOutput](t, "policies")(client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role}))
		require.Len(t, policies.PolicyNames, 1)
		policy := must[*iam.GetRolePolicyOutput](t, "policy")(client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String(policies.PolicyNames[0])}))
		document := must[string](t, "policy")(url.QueryUnescape(aws.ToString(policy.PolicyDocument)))
		assert.Contains(t, document, "parameter"+terraform.Output(t, options, "token_parameter_name")+`"`)
		assert.NotContains(t, document, "*")
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})
}

// launchTemplate returns the newest version of a launch template.
func launchTemplate(t *testing.T, client *ec2.Client, name string) types.LaunchTemplateVersion {
	t.Helper()
	answer := must[*ec2.DescribeLaunchTemplateVersionsOutput](t, "launch template")(client.DescribeLaunchTemplateVersions(t.Context(),
		&ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String(name), Versions: []string{"$Latest"}}))
	require.Len(t, answer.LaunchTemplateVersions, 1)
	return answer.LaunchTemplateVersions[0]
}
