# What the identity of one environment may do: one policy per concern, no service wildcard. `make policies` compares each
# granted action with what a deployment really asks for.

locals {
  # The name of the environment's resources begins with it. No environment's name begins with another's (envs/account).
  prefix  = "pmp-${var.environment}"
  secrets = ["${local.arn.prefix.secretsmanager}:secret:pmp/${var.environment}/*"]
  # What the account layer hands over to every environment, and to this one.
  account_parameters = [
    for name in ["account/deployment_bucket_name", "account/hosted_zone_*", "account/${var.environment}/*", "bootstrap/*"] :
    "${local.arn.prefix.ssm}:parameter/pmp/${name}"
  ]
  parameters = "${local.arn.prefix.ssm}:parameter/pmp/${var.environment}/*"
  # RDS names the master's secret itself.
  master_secrets         = "${local.arn.prefix.secretsmanager}:secret:rds!db-*"
  cluster_master_secrets = "${local.arn.prefix.secretsmanager}:secret:rds!cluster-*"
  states                 = [for layer in local.layers : "${local.arn.state}/${layer}/${var.environment}/${layer}.tfstate"]
  # Before a workspace is chosen, Terraform looks for the default workspace's state. There is none.
  default_states = [for layer in local.layers : "${local.arn.state}/${layer}.tfstate"]
  layers         = ["foundation", "service"]
  network_types = [
    "elastic-ip", "internet-gateway", "natgateway", "route-table", "security-group", "security-group-rule", "subnet",
    "vpc", "vpc-endpoint", "vpc-flow-log",
  ]
  # The tags bound the identity only because it cannot set them on what it did not make: see TagNew* and TagRunner.
  own = { StringEquals = {
    "aws:ResourceTag/Project"     = "pmp"
    "aws:ResourceTag/Environment" = var.environment
  } }
  own_request = { StringEquals = {
    "aws:RequestTag/Project"     = "pmp"
    "aws:RequestTag/Environment" = var.environment
  } }
  # Its own, which keeps its tags.
  own_and_tags = merge(local.own, { StringEqualsIfExists = local.own_request.StringEquals })
  own_function = { ArnLike = { "lambda:FunctionArn" = "${local.arn.prefix.lambda}:function:${local.prefix}*" } }
  # The first tags of what has none yet.
  first_tags = merge(local.own_request, { Null = { "aws:ResourceTag/Project" = "true", "aws:ResourceTag/Environment" = "true" } })
  # Route 53 publishes the metrics of its health checks in us-east-1 only, so their alarm and its topic are there.
  # https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/monitoring-health-checks.html
  alarm_regions = distinct([var.region, "us-east-1"])
  # The state's key, and the deployed code's, which is another account's where that account holds the deployment bucket.
  shared_keys        = distinct([var.kms_key_arn, var.deployment_bucket.kms_key_arn])
  dns_firewall_types = ["firewall-domain-list", "firewall-rule-group", "firewall-rule-group-association"]
  imports_buckets    = "${local.prefix}-imports-${var.account_id}-${var.region}"
  erasures_buckets   = "${local.prefix}-erasures-${var.account_id}-${var.region}"
  roles              = "${local.arn.iam}:role${local.iam_path}${local.prefix}-*"

  delivery_statements = {
    state = [
      {
        # Terraform lists the workspaces of a layer, and with them the names, not the states, of other environments. IfExists:
        # S3 asks for the same permission, without a prefix, to answer 404 and not 403 where an object is missing.
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        Sid       = "FindStates"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = local.arn.state
        Condition = { StringEqualsIfExists = { "s3:prefix" = [for layer in local.layers : "${layer}/"] } }
      },
      {
        Sid      = "ReadStates"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = concat(local.states, local.default_states)
      },
      {
        Sid      = "WriteStates"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = local.states
      },
      {
        Sid      = "LockStates"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = [for state in local.states : "${state}.tflock"]
      },
      {
        Sid       = "UseStateKeyThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = local.shared_keys
        Condition = { StringEquals = { "kms:ViaService" = ["s3.${var.region}.amazonaws.com", "lambda.${var.region}.amazonaws.com"] } }
      },
      {
        Sid      = "HandOverBetweenLayers"
        Effect   = "Allow"
        Action   = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParametersByPath", "ssm:ListTagsForResource", "ssm:PutParameter"]
        Resource = local.parameters
      },
      {
        Sid      = "ReadAccountLayer"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter"]
        Resource = local.account_parameters
      },
      {
        Sid      = "ListParameters"
        Effect   = "Allow"
        Action   = ["ssm:DescribeParameters"]
        Resource = "*"
      },
    ]

    artifacts = concat([
      {
        Sid       = "FindCode"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = local.arn.deploys
        Condition = { StringEqualsIfExists = { "s3:prefix" = "lambda/" } }
      },
      {
        Sid      = "ReadCode"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = "${local.arn.deploys}/lambda/*"
      },
      ],
      # One environment's jobs publish the zip that all of them run.
      [for publishes in [var.deployment_bucket.may_publish] : {
        Sid      = "PublishCode"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "${local.arn.deploys}/lambda/*"
    } if publishes])

    network = [
      {
        # These reads have no resource types.
        Sid    = "ReadNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute",
          "ec2:DescribeAvailabilityZones", "ec2:DescribeFlowLogs",
          "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribePrefixLists", "ec2:DescribeRouteTables",
          "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
          "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcEndpointServices", "ec2:DescribeVpcs", "logs:DescribeLogGroups",
        ]
        Resource = "*"
      },
      {
        Sid      = "ReadAttributes"
        Effect   = "Allow"
        Action   = ["ec2:DescribeVpcAttribute"]
        Resource = "${local.arn.prefix.ec2}:vpc/*"
      },
      {
        # AWS checks each resource of a request. What is new has no tag yet; a VPC, table, group or subnet that it is made in
        # has to be PMP's (ChangeOwnNetwork). So no statement here names an action's new and existing resources together.
        Sid      = "MakeNetworks"
        Effect   = "Allow"
        Action   = ["ec2:AllocateAddress", "ec2:CreateInternetGateway", "ec2:CreateVpc"]
        Resource = [for kind in ["elastic-ip", "internet-gateway", "vpc"] : "${local.arn.prefix.ec2}:${kind}/*"]
      },
      {
        Sid      = "MakeNetworkParts"
        Effect   = "Allow"
        Action   = ["ec2:CreateRouteTable", "ec2:CreateSecurityGroup", "ec2:CreateSubnet"]
        Resource = [for kind in ["route-table", "security-group", "subnet"] : "${local.arn.prefix.ec2}:${kind}/*"]
      },
      {
        Sid    = "MakeConnections"
        Effect = "Allow"
        Action = [
          "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateNatGateway",
          "ec2:CreateVpcEndpoint",
        ]
        Resource = [for kind in ["natgateway", "security-group-rule", "vpc-endpoint"] : "${local.arn.prefix.ec2}:${kind}/*"]
      },
      {
        Sid      = "MakeFlowLogs"
        Effect   = "Allow"
        Action   = ["ec2:CreateFlowLogs"]
        Resource = "${local.arn.prefix.ec2}:vpc-flow-log/*"
      },
      {
        # Only within the call that makes the resource.
        Sid      = "TagNewNetwork"
        Effect   = "Allow"
        Action   = ["ec2:CreateTags"]
        Resource = [for kind in local.network_types : "${local.arn.prefix.ec2}:${kind}/*"]
        Condition = { StringEquals = merge(local.own_request.StringEquals, { "ec2:CreateAction" = [
          "AllocateAddress", "AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateFlowLogs",
          "CreateInternetGateway", "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet",
          "CreateVpc", "CreateVpcEndpoint",
        ] }) }
      },
      {
        Sid    = "ChangeOwnNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroupEgress",
          "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateFlowLogs", "ec2:CreateNatGateway", "ec2:CreateRoute",
          "ec2:CreateRouteTable", "ec2:CreateSecurityGroup", "ec2:CreateSubnet",
          "ec2:CreateVpcEndpoint", "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway",
          "ec2:DeleteRoute", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags",
          "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints", "ec2:DetachInternetGateway", "ec2:DisassociateAddress",
          "ec2:DisassociateRouteTable", "ec2:ModifySecurityGroupRules", "ec2:ModifySubnetAttribute",
          "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
          "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
        ]
        Resource  = [for kind in local.network_types : "${local.arn.prefix.ec2}:${kind}/*"]
        Condition = local.own
      },
      {
        # What is PMP's stays PMP's and this environment's.
        Sid       = "TagOwnNetwork"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags"]
        Resource  = [for kind in concat(local.network_types, ["launch-template"]) : "${local.arn.prefix.ec2}:${kind}/*"]
        Condition = local.own_and_tags
      },
      {
        # An interface endpoint's private DNS names are a hosted zone of AWS's, which has no id before it is made.
        Sid      = "EnablePrivateDns"
        Effect   = "Allow"
        Action   = ["route53:AssociateVPCWithHostedZone"]
        Resource = "arn:aws:route53:::hostedzone/*"
      },
      {
        Sid    = "KeepLogGroups"
        Effect = "Allow"
        Action = [
          "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteMetricFilter",
          "logs:DescribeMetricFilters", "logs:ListTagsForResource", "logs:PutMetricFilter", "logs:PutRetentionPolicy",
          "logs:TagResource", "logs:UntagResource",
        ]
        Resource = [
          for place in ["aws/apigateway", "aws/lambda", "aws/rds/instance", "aws/rds/proxy", "pmp"] :
          "${local.arn.prefix.logs}:log-group:/${place}/${local.prefix}*"
        ]
      },
    ]

    database = [
      {
        Sid    = "KeepDatabases"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:CreateDBInstance", "rds:CreateDBParameterGroup", "rds:CreateDBSnapshot",
          "rds:CreateDBSubnetGroup", "rds:DeleteDBInstance", "rds:DeleteDBParameterGroup", "rds:DeleteDBSubnetGroup",
          "rds:DescribeDBParameters", "rds:DescribeDBSubnetGroups", "rds:DescribeDBParameterGroups",
          "rds:ListTagsForResource", "rds:ModifyDBInstance", "rds:ModifyDBParameterGroup", "rds:ModifyDBSubnetGroup",
          "rds:RemoveTagsFromResource", "rds:ResetDBParameterGroup", "rds:RestoreDBInstanceFromDBSnapshot",
          "rds:RestoreDBInstanceToPointInTime",
        ]
        Resource = concat(
          # An automated snapshot is named rds:<instance>-<time>.
          [for kind in ["db", "pg", "snapshot", "snapshot:rds", "subgrp"] : "${local.arn.prefix.rds}:${kind}:${local.prefix}*"],
          # A protected instance leaves a last snapshot, final-pmp-<environment>-<random>.
          ["${local.arn.prefix.rds}:og:default*", "${local.arn.prefix.rds}:snapshot:final-${local.prefix}*"],
        )
      },
      {
        # The backups of an instance that is gone have an id that AWS makes up.
        Sid       = "RestoreLostDatabases"
        Effect    = "Allow"
        Action    = ["rds:RestoreDBInstanceToPointInTime"]
        Resource  = "${local.arn.prefix.rds}:auto-backup:*"
        Condition = local.own
      },
      {
        # A list of instances is checked against all of them, and a proxy is named by an id that AWS makes up.
        Sid    = "ReadDatabasesAndProxies"
        Effect = "Allow"
        Action = [
          "rds:DescribeDBInstances", "rds:DescribeDBProxies", "rds:DescribeDBProxyTargetGroups",
          "rds:DescribeDBProxyTargets", "rds:ListTagsForResource",
        ]
        Resource = [for kind in ["db", "db-proxy", "target-group"] : "${local.arn.prefix.rds}:${kind}:*"]
      },
      {
        # RDS has no condition key for the call that tags, so a proxy without a Project tag can be taken over; one of another
        # product that has the tag cannot.
        Sid       = "TagNewProxies"
        Effect    = "Allow"
        Action    = ["rds:AddTagsToResource"]
        Resource  = "${local.arn.prefix.rds}:db-proxy:*"
        Condition = local.first_tags
      },
      {
        Sid    = "ChangeOwnProxies"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:DeleteDBProxy", "rds:DeregisterDBProxyTargets", "rds:ModifyDBProxy",
          "rds:RemoveTagsFromResource",
        ]
        Resource  = "${local.arn.prefix.rds}:db-proxy:*"
        Condition = local.own_and_tags
      },
      {
        # A proxy's default target group is made with it, and carries no tags.
        Sid    = "KeepProxyTargets"
        Effect = "Allow"
        Action = ["rds:DeregisterDBProxyTargets", "rds:ModifyDBProxyTargetGroup", "rds:RegisterDBProxyTargets"]
        Resource = [
          "${local.arn.prefix.rds}:cluster:${local.prefix}*", "${local.arn.prefix.rds}:db:${local.prefix}*", "${local.arn.prefix.rds}:target-group:*",
        ]
      },
      {
        # These actions have no resource types.
        Sid       = "MakeProxiesAndKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateKey", "rds:CreateDBProxy"]
        Resource  = "*"
        Condition = local.own_request
      },
      {
        # This action has no resource types.
        Sid      = "ListKeyNames"
        Effect   = "Allow"
        Action   = ["kms:ListAliases"]
        Resource = "*"
      },
      {
        # The migration job writes the passwords, `python -m ops client` the OAuth clients' secrets.
        Sid    = "KeepSecrets"
        Effect = "Allow"
        Action = [
          "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret",
          "secretsmanager:GetResourcePolicy", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue",
          "secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:UpdateSecret",
          "secretsmanager:UpdateSecretVersionStage",
        ]
        Resource = local.secrets
      },
      {
        # RDS makes the master's secret in the caller's name, and tags it with the ARN of the instance that it belongs to.
        # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
        Sid       = "MakeMasterSecret"
        Effect    = "Allow"
        Action    = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
        Resource  = local.master_secrets
        Condition = { Null = { "aws:ResourceTag/aws:rds:primaryDBInstanceArn" = "true" } }
      },
      {
        # The migration job makes the database's roles with it. Its name does not tell the environment, its tag does.
        Sid       = "UseMasterSecret"
        Effect    = "Allow"
        Action    = ["secretsmanager:GetSecretValue"]
        Resource  = local.master_secrets
        Condition = { StringLike = { "aws:ResourceTag/aws:rds:primaryDBInstanceArn" = "${local.arn.prefix.rds}:db:${local.prefix}*" } }
      },
      {
        # The tag is set when the key is made, and cannot be put on a key that is already in use under some name.
        Sid      = "TagNewKeys"
        Effect   = "Allow"
        Action   = ["kms:TagResource"]
        Resource = "${local.arn.prefix.kms}:key/*"
        Condition = {
          StringEquals = local.own_request.StringEquals
          Null         = { "kms:ResourceAliases" = "true" }
        }
      },
      {
        Sid    = "KeepOwnKeys"
        Effect = "Allow"
        Action = [
          "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy",
          "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion",
          "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
        ]
        Resource  = "${local.arn.prefix.kms}:key/*"
        Condition = local.own_and_tags
      },
      {
        Sid      = "NameOwnKeys"
        Effect   = "Allow"
        Action   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
        Resource = "${local.arn.prefix.kms}:alias/${local.prefix}*"
      },
      {
        # RDS, Lambda and others take a grant of the key for themselves; the identity cannot grant it to anybody else.
        Sid       = "LetServicesUseOwnKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant"]
        Resource  = "${local.arn.prefix.kms}:key/*"
        Condition = merge(local.own, { Bool = { "kms:GrantIsForAWSResource" = "true" } })
      },
      {
        Sid       = "ReadSecretsUnderOwnKeys"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "${local.arn.prefix.kms}:key/*"
        Condition = { StringEquals = merge(local.own.StringEquals, { "kms:ViaService" = [for service in ["s3", "secretsmanager"] : "${service}.${var.region}.amazonaws.com"] }) }
      },
      {
        # After a restore of the database: python -m ops replay-erasures.
        Sid      = "ReadJournalOfErasures"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = "arn:aws:s3:::${local.erasures_buckets}/erasures/*"
      },
    ]

    # What an environment needs with an option only.
    options = concat([
      {
        # New ones have no tag yet; none of these takes anything away.
        Sid    = "MakeDnsFirewall"
        Effect = "Allow"
        Action = [
          "route53resolver:AssociateFirewallRuleGroup", "route53resolver:CreateFirewallDomainList",
          "route53resolver:CreateFirewallRuleGroup",
        ]
        Resource  = [for kind in local.dns_firewall_types : "${local.arn.prefix.route53resolver}:${kind}/*"]
        Condition = local.own_request
      },
      {
        # Named by ids that AWS makes up.
        Sid    = "KeepDnsFirewall"
        Effect = "Allow"
        Action = [
          "route53resolver:CreateFirewallRule", "route53resolver:DeleteFirewallDomainList",
          "route53resolver:DeleteFirewallRule", "route53resolver:DeleteFirewallRuleGroup",
          "route53resolver:DisassociateFirewallRuleGroup",
          "route53resolver:GetFirewallDomainList", "route53resolver:GetFirewallRuleGroup",
          "route53resolver:GetFirewallRuleGroupAssociation", "route53resolver:ListFirewallDomains",
          "route53resolver:ListFirewallRules", "route53resolver:ListTagsForResource", "route53resolver:TagResource",
          "route53resolver:UntagResource", "route53resolver:UpdateFirewallDomains",
          "route53resolver:UpdateFirewallRule", "route53resolver:UpdateFirewallRuleGroupAssociation",
        ]
        Resource  = [for kind in local.dns_firewall_types : "${local.arn.prefix.route53resolver}:${kind}/*"]
        Condition = local.own_and_tags
      },
      {
        Sid       = "TagNewDnsFirewall"
        Effect    = "Allow"
        Action    = ["route53resolver:TagResource"]
        Resource  = [for kind in local.dns_firewall_types : "${local.arn.prefix.route53resolver}:${kind}/*"]
        Condition = local.first_tags
      },
      {
        # A VPC's setting, which cannot carry a tag.
        Sid      = "SetDnsFirewall"
        Effect   = "Allow"
        Action   = ["route53resolver:GetFirewallConfig", "route53resolver:UpdateFirewallConfig"]
        Resource = "${local.arn.prefix.route53resolver}:firewall-config/*"
      },
      {
        # This action has no resource types.
        Sid      = "FindDnsFirewalls"
        Effect   = "Allow"
        Action   = ["route53resolver:ListFirewallConfigs"]
        Resource = "*"
      },
    ], [for statement in local.cluster_statements : statement if var.uses_aurora])

    runner = [
      {
        # These reads have no resource types.
        Sid    = "ReadRunner"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScalingActivities",
          "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeLaunchTemplates",
        ]
        Resource = "*"
      },
      {
        Sid    = "KeepRunner"
        Effect = "Allow"
        Action = [
          "autoscaling:CancelInstanceRefresh", "autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags",
          "autoscaling:DeleteAutoScalingGroup", "autoscaling:DeleteTags", "autoscaling:StartInstanceRefresh",
          "autoscaling:UpdateAutoScalingGroup",
        ]
        Resource = "${local.arn.prefix.autoscaling}:autoScalingGroup:*:autoScalingGroupName/${local.prefix}*"
      },
      {
        Sid      = "MakeLaunchTemplates"
        Effect   = "Allow"
        Action   = ["ec2:CreateLaunchTemplate"]
        Resource = "${local.arn.prefix.ec2}:launch-template/*"
      },
      {
        Sid       = "TagNewLaunchTemplates"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags"]
        Resource  = "${local.arn.prefix.ec2}:launch-template/*"
        Condition = { StringEquals = merge(local.own_request.StringEquals, { "ec2:CreateAction" = "CreateLaunchTemplate" }) }
      },
      {
        Sid    = "ChangeOwnLaunchTemplates"
        Effect = "Allow"
        Action = [
          "ec2:CreateLaunchTemplateVersion", "ec2:DeleteLaunchTemplate", "ec2:DeleteTags", "ec2:ModifyLaunchTemplate",
        ]
        Resource  = "${local.arn.prefix.ec2}:launch-template/*"
        Condition = local.own
      },
      {
        # A group whose launch template names no version of its own is checked as if its caller ran the instance.
        Sid    = "RunRunner"
        Effect = "Allow"
        Action = ["ec2:RunInstances"]
        Resource = concat(
          [for kind in ["instance", "launch-template", "network-interface", "security-group", "subnet", "volume"] : "${local.arn.prefix.ec2}:${kind}/*"],
          ["arn:aws:ec2:${var.region}::image/*"],
        )
        Condition = { ArnLike = { "ec2:LaunchTemplate" = "${local.arn.prefix.ec2}:launch-template/*" } }
      },
      {
        # The launch template tags instance and volume. CreateTags has no condition key
        # ec2:LaunchTemplate, so it cannot be part of the statement above.
        # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
        Sid       = "TagRunner"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags"]
        Resource  = [for kind in ["instance", "volume"] : "${local.arn.prefix.ec2}:${kind}/*"]
        Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
      },
      {
        # The launch template names its image by a public parameter, which its user must be allowed to read.
        # https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
        Sid      = "FindImage"
        Effect   = "Allow"
        Action   = ["ssm:GetParameters"]
        Resource = "arn:aws:ssm:${var.region}::parameter/aws/service/debian/*"
      },
    ]

    monitoring = [
      # What invokes the function besides the API stands here because a policy has no room for more, and a user for no more
      # policies.
      {
        Sid      = "KeepSchedules"
        Effect   = "Allow"
        Action   = ["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:GetSchedule", "scheduler:UpdateSchedule"]
        Resource = "${local.arn.prefix.scheduler}:schedule/default/${local.prefix}*"
      },
      {
        Sid      = "KeepQueues"
        Effect   = "Allow"
        Action   = ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:ListQueueTags", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue"]
        Resource = "${local.arn.prefix.sqs}:${local.prefix}*"
      },
      {
        # Which queue invokes the function. This action has no resource types; the key names the function.
        Sid       = "MakeEventSources"
        Effect    = "Allow"
        Action    = ["lambda:CreateEventSourceMapping"]
        Resource  = "*"
        Condition = local.own_function
      },
      {
        # AWS makes up a mapping's id. The key names its function.
        Sid       = "KeepEventSources"
        Effect    = "Allow"
        Action    = ["lambda:DeleteEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        Resource  = "${local.arn.prefix.lambda}:event-source-mapping:*"
        Condition = local.own_function
      },
      {
        # Without the key: a mapping that is gone has no function, and a deletion is done when it is gone.
        Sid      = "ReadEventSources"
        Effect   = "Allow"
        Action   = ["lambda:GetEventSourceMapping"]
        Resource = "${local.arn.prefix.lambda}:event-source-mapping:*"
      },
      {
        Sid       = "TagEventSources"
        Effect    = "Allow"
        Action    = ["lambda:ListTags", "lambda:TagResource", "lambda:UntagResource"]
        Resource  = "${local.arn.prefix.lambda}:event-source-mapping:*"
        Condition = local.own_and_tags
      },
      {
        Sid       = "TagNewEventSources"
        Effect    = "Allow"
        Action    = ["lambda:TagResource"]
        Resource  = "${local.arn.prefix.lambda}:event-source-mapping:*"
        Condition = local.first_tags
      },
      {
        Sid    = "KeepAlarms"
        Effect = "Allow"
        Action = [
          "cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource",
          "cloudwatch:PutCompositeAlarm", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource",
          "cloudwatch:UntagResource",
        ]
        Resource = [for region in local.alarm_regions : "arn:aws:cloudwatch:${region}:${var.account_id}:alarm:${local.prefix}*"]
      },
      {
        Sid      = "KeepDashboards"
        Effect   = "Allow"
        Action   = ["cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard", "cloudwatch:PutDashboard"]
        Resource = "arn:aws:cloudwatch::${var.account_id}:dashboard/${local.prefix}*"
      },
      {
        Sid    = "KeepTopics"
        Effect = "Allow"
        Action = [
          "sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes", "sns:ListTagsForResource", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource",
        ]
        Resource = [for region in local.alarm_regions : "arn:aws:sns:${region}:${var.account_id}:${local.prefix}*"]
      },
      {
        # This action has no resource types.
        Sid      = "MakeHealthChecks"
        Effect   = "Allow"
        Action   = ["route53:CreateHealthCheck"]
        Resource = "*"
      },
      {
        # A health check is named by an id that AWS makes up, and Route 53 has no condition keys for its tags.
        Sid    = "KeepHealthChecks"
        Effect = "Allow"
        Action = [
          "route53:ChangeTagsForResource", "route53:DeleteHealthCheck", "route53:GetHealthCheck",
          "route53:ListTagsForResource", "route53:UpdateHealthCheck",
        ]
        Resource = "arn:aws:route53:::healthcheck/*"
      },
      {
        # These actions have no resource types.
        Sid       = "MakeUserPools"
        Effect    = "Allow"
        Action    = ["cognito-idp:CreateUserPool"]
        Resource  = "*"
        Condition = local.own_request
      },
      {
        Sid      = "ReadSubscriptionsAndDomains"
        Effect   = "Allow"
        Action   = ["cognito-idp:DescribeUserPoolDomain", "sns:GetSubscriptionAttributes", "sns:Unsubscribe"]
        Resource = "*"
      },
      {
        # A pool is named by an id that AWS makes up.
        Sid    = "KeepUserPools"
        Effect = "Allow"
        Action = [
          "cognito-idp:CreateResourceServer", "cognito-idp:CreateUserPoolClient", "cognito-idp:CreateUserPoolDomain",
          "cognito-idp:DeleteResourceServer", "cognito-idp:DeleteUserPool", "cognito-idp:DeleteUserPoolDomain",
          "cognito-idp:DescribeResourceServer", "cognito-idp:DescribeUserPool", "cognito-idp:DescribeUserPoolClient",
          "cognito-idp:GetUserPoolMfaConfig", "cognito-idp:ListUserPoolClients", "cognito-idp:TagResource",
          "cognito-idp:UntagResource", "cognito-idp:UpdateResourceServer", "cognito-idp:UpdateUserPool",
          "cognito-idp:UpdateUserPoolClient",
        ]
        Resource  = "${local.arn.prefix.cognito-idp}:userpool/*"
        Condition = local.own_and_tags
      },
      {
        Sid       = "TagNewUserPools"
        Effect    = "Allow"
        Action    = ["cognito-idp:TagResource"]
        Resource  = "${local.arn.prefix.cognito-idp}:userpool/*"
        Condition = local.first_tags
      },
    ]

    service = concat([
      {
        Sid    = "KeepFunctions"
        Effect = "Allow"
        Action = [
          "lambda:AddPermission", "lambda:CreateAlias", "lambda:CreateFunction", "lambda:DeleteAlias", "lambda:DeleteFunction",
          "lambda:DeleteFunctionConcurrency", "lambda:DeleteFunctionEventInvokeConfig", "lambda:GetAlias", "lambda:GetFunction",
          "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionConfiguration", "lambda:GetFunctionEventInvokeConfig",
          "lambda:GetFunctionRecursionConfig", "lambda:GetPolicy", "lambda:ListTags", "lambda:ListVersionsByFunction",
          "lambda:PublishVersion", "lambda:PutFunctionConcurrency", "lambda:PutFunctionEventInvokeConfig",
          "lambda:PutFunctionRecursionConfig", "lambda:RemovePermission", "lambda:TagResource", "lambda:UntagResource",
          "lambda:UpdateAlias", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration",
          "lambda:UpdateFunctionEventInvokeConfig",
        ]
        Resource = "${local.arn.prefix.lambda}:function:${local.prefix}*"
      },
      {
        # How much concurrency the account has left. This action has no resource types.
        Sid      = "ReadConcurrency"
        Effect   = "Allow"
        Action   = ["lambda:GetAccountSettings"]
        Resource = "*"
      },
      {
        Sid    = "KeepApis"
        Effect = "Allow"
        Action = ["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:POST"]
        Resource = [
          for path in ["apis", "apis/*", "domainnames", "domainnames/*", "tags/*"] : "arn:aws:apigateway:${var.region}::/${path}"
        ]
      },
      {
        # A domain with mutual TLS (service.api.truststore).
        Sid      = "SetClientCertificates"
        Effect   = "Allow"
        Action   = ["apigateway:AddCertificateToDomain", "apigateway:RemoveCertificateFromDomain"]
        Resource = [for path in ["domainnames", "domainnames/*"] : "arn:aws:apigateway:${var.region}::/${path}"]
      },
      {
        # This action has no resource types.
        Sid       = "MakeCertificates"
        Effect    = "Allow"
        Action    = ["acm:RequestCertificate"]
        Resource  = "*"
        Condition = local.own_request
      },
      {
        # A certificate is named by an id that AWS makes up.
        Sid    = "KeepCertificates"
        Effect = "Allow"
        Action = [
          "acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:DescribeCertificate", "acm:ListTagsForCertificate",
          "acm:RemoveTagsFromCertificate",
        ]
        Resource  = "${local.arn.prefix.acm}:certificate/*"
        Condition = local.own_and_tags
      },
      {
        Sid       = "TagNewCertificates"
        Effect    = "Allow"
        Action    = ["acm:AddTagsToCertificate"]
        Resource  = "${local.arn.prefix.acm}:certificate/*"
        Condition = local.first_tags
      },
      {
        # The zone is everybody's, a name in it is one environment's.
        # https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
        Sid      = "ChangeOwnRecords"
        Effect   = "Allow"
        Action   = ["route53:ChangeResourceRecordSets"]
        Resource = "arn:aws:route53:::hostedzone/${var.hosted_zone_id}"
        Condition = { "ForAllValues:StringLike" = {
          "route53:ChangeResourceRecordSetsNormalizedRecordNames" = flatten([
            for name in compact([var.domain_name, var.former_domain_name]) : [name, "*.${name}"]
          ])
        } }
      },
      {
        Sid      = "ReadRecords"
        Effect   = "Allow"
        Action   = ["route53:GetHostedZone", "route53:ListResourceRecordSets"]
        Resource = "arn:aws:route53:::hostedzone/${var.hosted_zone_id}"
      },
      {
        Sid      = "WaitForRecords"
        Effect   = "Allow"
        Action   = ["route53:GetChange"]
        Resource = "arn:aws:route53:::change/*"
      },
      {
        Sid    = "KeepImportBuckets"
        Effect = "Allow"
        Action = [
          "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:DeleteObject", "s3:DeleteObjectVersion",
          "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLogging",
          "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls",
          "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging",
          "s3:GetBucketVersioning", "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration",
          "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListBucketVersions",
          "s3:PutBucketNotification", "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy",
          "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
          "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
        ]
        Resource = flatten([for name in [local.imports_buckets, local.erasures_buckets] : ["arn:aws:s3:::${name}", "arn:aws:s3:::${name}/*"]])
      },
      {
        # API Gateway's access logs go through CloudWatch's log delivery, which is set up in the caller's name. These
        # know no resource types.
        Sid    = "DeliverAccessLogs"
        Effect = "Allow"
        Action = [
          "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:GetLogDelivery",
          "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery",
        ]
        Resource = "*"
      },
      ],
      # API Gateway reads a truststore in the caller's name.
      [for uri in var.truststore_uri[*] : {
        Sid      = "ReadTruststore"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = "arn:aws:s3:::${trimprefix(uri, "s3://")}"
      }],
      [for role in var.hosted_zone_roles[*] : {
        Sid      = "ChangeRecordsOfAnotherAccount"
        Effect   = "Allow"
        Action   = ["sts:AssumeRole"]
        Resource = role.writer_arn
    }])

    iam = concat([
      {
        Sid       = "MakeBoundedRoles"
        Effect    = "Allow"
        Action    = ["iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy"]
        Resource  = local.roles
        Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
      },
      {
        Sid      = "AttachKnownPolicies"
        Effect   = "Allow"
        Action   = ["iam:AttachRolePolicy", "iam:DetachRolePolicy"]
        Resource = local.roles
        Condition = {
          StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn }
          ArnEquals    = { "iam:PolicyARN" = local.attachable_policy_arns }
        }
      },
      {
        Sid    = "KeepRoles"
        Effect = "Allow"
        Action = [
          "iam:DeleteRole", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
          "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:TagRole", "iam:UntagRole",
          "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription",
        ]
        Resource = local.roles
      },
      {
        Sid    = "KeepInstanceProfiles"
        Effect = "Allow"
        Action = [
          "iam:AddRoleToInstanceProfile", "iam:CreateInstanceProfile", "iam:DeleteInstanceProfile", "iam:GetInstanceProfile",
          "iam:RemoveRoleFromInstanceProfile", "iam:TagInstanceProfile", "iam:UntagInstanceProfile",
        ]
        Resource = "${local.arn.iam}:instance-profile${local.iam_path}${local.prefix}-*"
      },
      {
        Sid       = "MakeServiceLinkedRoles"
        Effect    = "Allow"
        Action    = ["iam:CreateServiceLinkedRole"]
        Resource  = "${local.arn.iam}:role/aws-service-role/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = local.linked_services } }
      },
      ],
      # Each role goes to the one service that it was made for.
      [for role, service in local.service_by_role : {
        Sid       = "Pass${replace(title(replace(role, "-", " ")), " ", "")}"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = "${local.arn.iam}:role${local.iam_path}${local.prefix}-${role}"
        Condition = { StringEquals = { "iam:PassedToService" = service } }
    }])

    guardrails = [
      {
        Sid    = "NeverChangeDeliveryItself"
        Effect = "Deny"
        Action = ["iam:*"]
        Resource = [
          "${local.arn.iam}:user/*", "${local.arn.iam}:group/*", "${local.arn.iam}:policy/*", "${local.arn.iam}:oidc-provider/*",
          "${local.arn.iam}:role${local.iam_path}gitlab*",
        ]
      },
      {
        Sid      = "NeverDropTheBoundary"
        Effect   = "Deny"
        Action   = ["iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary"]
        Resource = "*"
      },
      {
        Sid    = "NeverChangeTheStateKey"
        Effect = "Deny"
        Action = [
          "kms:CreateGrant", "kms:DisableKey", "kms:DisableKeyRotation", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion",
          "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription",
        ]
        Resource = local.shared_keys
      },
      {
        Sid       = "NeverChangeSharedBuckets"
        Effect    = "Deny"
        NotAction = ["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]
        Resource  = [local.arn.state, "${local.arn.state}/*", local.arn.deploys, "${local.arn.deploys}/*"]
      },
      {
        Sid      = "NeverDeleteStatesOrCode"
        Effect   = "Deny"
        Action   = ["s3:DeleteObject"]
        Resource = ["${local.arn.state}/*.tfstate", "${local.arn.deploys}/*"]
      },
      local.only_own_tags,
    ]
  }

  # Whatever else is granted: what carries the tag of another environment is out of reach. A role for DNS records, and
  # objects such as a truststore, belong to others by design.
  only_own_tags = {
    Sid       = "NeverReachAnotherEnvironment"
    Effect    = "Deny"
    NotAction = ["s3:GetObject", "s3:GetObjectVersion", "sts:AssumeRole"]
    Resource  = "*"
    Condition = {
      StringNotEquals = { "aws:ResourceTag/Environment" = var.environment }
      Null            = { "aws:ResourceTag/Environment" = "false" }
    }
  }

  cluster_statements = [
    {
      Sid    = "KeepClusters"
      Effect = "Allow"
      Action = [
        "rds:AddTagsToResource", "rds:CreateDBCluster", "rds:CreateDBClusterParameterGroup", "rds:CreateDBClusterSnapshot",
        "rds:CreateDBInstance", "rds:DeleteDBCluster", "rds:DeleteDBClusterParameterGroup",
        "rds:DescribeDBClusterParameterGroups", "rds:DescribeDBClusterParameters", "rds:ListTagsForResource",
        "rds:ModifyDBCluster", "rds:ModifyDBClusterParameterGroup", "rds:RemoveTagsFromResource",
        "rds:ResetDBClusterParameterGroup", "rds:RestoreDBClusterFromSnapshot", "rds:RestoreDBClusterToPointInTime",
      ]
      Resource = concat(
        [for kind in ["cluster", "cluster-pg", "cluster-snapshot", "cluster-snapshot:rds", "db", "snapshot", "snapshot:rds", "subgrp"] : "${local.arn.prefix.rds}:${kind}:${local.prefix}*"],
        ["${local.arn.prefix.rds}:og:default*", "${local.arn.prefix.rds}:cluster-snapshot:final-${local.prefix}*"],
      )
    },
    {
      # Lists are checked against all clusters, and the provider looks whether one belongs to a global database.
      Sid      = "ReadClusters"
      Effect   = "Allow"
      Action   = ["rds:DescribeDBClusters", "rds:DescribeDBProxyEndpoints", "rds:DescribeGlobalClusters"]
      Resource = concat([for kind in ["cluster", "db-proxy", "db-proxy-endpoint"] : "${local.arn.prefix.rds}:${kind}:*"], ["arn:aws:rds::${var.account_id}:global-cluster:*"])
    },
    {
      # A new endpoint has an id that AWS makes up, and no tag yet; it can only be made on a proxy that is its own.
      Sid       = "MakeProxyEndpoints"
      Effect    = "Allow"
      Action    = ["rds:AddTagsToResource", "rds:CreateDBProxyEndpoint"]
      Resource  = "${local.arn.prefix.rds}:db-proxy-endpoint:*"
      Condition = local.first_tags
    },
    {
      Sid       = "MakeEndpointsOfOwnProxies"
      Effect    = "Allow"
      Action    = ["rds:CreateDBProxyEndpoint"]
      Resource  = "${local.arn.prefix.rds}:db-proxy:*"
      Condition = local.own
    },
    {
      Sid       = "ChangeOwnProxyEndpoints"
      Effect    = "Allow"
      Action    = ["rds:DeleteDBProxyEndpoint", "rds:ListTagsForResource", "rds:ModifyDBProxyEndpoint", "rds:RemoveTagsFromResource"]
      Resource  = "${local.arn.prefix.rds}:db-proxy-endpoint:*"
      Condition = local.own
    },
    {
      # As MakeMasterSecret and UseMasterSecret, for a cluster's master.
      Sid       = "MakeMasterSecretOfCluster"
      Effect    = "Allow"
      Action    = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
      Resource  = local.cluster_master_secrets
      Condition = { Null = { "aws:ResourceTag/aws:rds:primaryDBClusterArn" = "true" } }
    },
    {
      Sid       = "UseMasterSecretOfCluster"
      Effect    = "Allow"
      Action    = ["secretsmanager:GetSecretValue"]
      Resource  = local.cluster_master_secrets
      Condition = { StringLike = { "aws:ResourceTag/aws:rds:primaryDBClusterArn" = "${local.arn.prefix.rds}:cluster:${local.prefix}*" } }
    },
    {
      Sid    = "KeepLogGroupsOfClusters"
      Effect = "Allow"
      Action = [
        "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:ListTagsForResource", "logs:PutRetentionPolicy",
        "logs:TagResource", "logs:UntagResource",
      ]
      Resource = "${local.arn.prefix.logs}:log-group:/aws/rds/cluster/${local.prefix}*"
    },
  ]

  attachable_policy_arns = [
    "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole",
  ]
  # The roles that foundation and service make, and who may be given each.
  service_by_role = {
    database-monitoring = "monitoring.rds.amazonaws.com"
    database-proxy      = "rds.amazonaws.com"
    flow-log            = "vpc-flow-logs.amazonaws.com"
    function            = "lambda.amazonaws.com"
    runner              = "ec2.amazonaws.com"
    scheduler           = "scheduler.amazonaws.com"
  }
  # Roles that AWS makes for itself when a service is used for the first time in an account.
  linked_services = [
    "autoscaling.amazonaws.com", "ops.apigateway.amazonaws.com", "rds.amazonaws.com",
  ]
}
