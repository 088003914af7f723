# What GitLab's identity may do: one policy per concern, no service wildcard. `make policies` compares each granted
# action with what a deployment really asks for.

locals {
  parameters = concat(
    ["${local.arn.prefix.ssm}:parameter/pmp/account/*", "${local.arn.prefix.ssm}:parameter/pmp/bootstrap/*"],
    [for environment in var.environments : "${local.arn.prefix.ssm}:parameter/pmp/${environment}/*"],
  )
  secrets = [for environment in var.environments : "${local.arn.prefix.secretsmanager}:secret:pmp/${environment}/*"]
  # RDS names the master's secret itself.
  master_secrets = "${local.arn.prefix.secretsmanager}:secret:rds!db-*"
  states = flatten([
    for layer in ["foundation", "service"] : [
      for environment in var.environments : "${local.arn.state}/${layer}/${environment}/${layer}.tfstate"
    ]
  ])
  # Before a workspace is chosen, Terraform looks for the default workspace's state. There is none.
  default_states = [for layer in ["foundation", "service"] : "${local.arn.state}/${layer}.tfstate"]
  roles          = [for environment in var.environments : "${local.arn.iam}:role${local.iam_path}pmp-${environment}-*"]

  delivery_statements = {
    state = [
      {
        Sid      = "FindStates"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = local.arn.state
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
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = ["s3.${var.region}.amazonaws.com", "lambda.${var.region}.amazonaws.com"] } }
      },
      {
        Sid      = "HandOverBetweenLayers"
        Effect   = "Allow"
        Action   = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:ListTagsForResource", "ssm:PutParameter"]
        Resource = [for environment in var.environments : "${local.arn.prefix.ssm}:parameter/pmp/${environment}/*"]
      },
      {
        Sid      = "ReadAccountLayer"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter"]
        Resource = slice(local.parameters, 0, 2)
      },
      {
        Sid      = "ListParameters"
        Effect   = "Allow"
        Action   = ["ssm:DescribeParameters"]
        Resource = "*"
      },
    ]

    artifacts = [
      {
        Sid      = "FindCode"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = local.arn.deploys
      },
      {
        Sid      = "PublishCode"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = "${local.arn.deploys}/lambda/*"
      },
    ]

    network = [
      {
        Sid    = "ReadNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeAvailabilityZones", "ec2:DescribeFlowLogs", "ec2:DescribeInternetGateways",
          "ec2:DescribeManagedPrefixLists", "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribePrefixLists", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules",
          "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints",
          "ec2:DescribeVpcEndpointServices", "ec2:DescribeVpcs", "ec2:DescribeTags",
          "logs:DescribeLogGroups",
        ]
        Resource = "*"
      },
      {
        Sid    = "ChangeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AllocateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway",
          "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateFlowLogs",
          "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateNetworkAclEntry", "ec2:CreateRoute", "ec2:CreateRouteTable",
          "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc", "ec2:CreateVpcEndpoint",
          "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteNetworkAclEntry", "ec2:DeleteRoute",
          "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc",
          "ec2:DeleteVpcEndpoints", "ec2:DetachInternetGateway", "ec2:DisassociateAddress",
          "ec2:DisassociateRouteTable", "ec2:ModifySecurityGroupRules", "ec2:ModifySubnetAttribute",
          "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
          "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
        ]
        Resource = "*"
      },
      {
        Sid    = "ManageLogGroups"
        Effect = "Allow"
        Action = [
          "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy", "logs:ListTagsForResource",
          "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource",
        ]
        Resource = ["${local.arn.prefix.logs}:log-group:/aws/*", "${local.arn.prefix.logs}:log-group:/pmp/*"]
      },
    ]

    database = [
      {
        Sid    = "ReadDatabases"
        Effect = "Allow"
        Action = [
          "rds:DescribeDBInstances", "rds:DescribeDBParameterGroups", "rds:DescribeDBParameters", "rds:DescribeDBProxies",
          "rds:DescribeDBProxyTargetGroups", "rds:DescribeDBProxyTargets", "rds:DescribeDBSubnetGroups", "rds:ListTagsForResource",
          "rds:DescribeDBEngineVersions", "rds:DescribeOrderableDBInstanceOptions",
        ]
        Resource = "*"
      },
      {
        Sid    = "ManageDatabases"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:CreateDBInstance", "rds:CreateDBParameterGroup", "rds:CreateDBProxy", "rds:CreateDBSnapshot",
          "rds:CreateDBSubnetGroup", "rds:DeleteDBInstance", "rds:DeleteDBParameterGroup", "rds:DeleteDBProxy",
          "rds:DeleteDBSubnetGroup", "rds:DeregisterDBProxyTargets", "rds:ModifyDBInstance", "rds:ModifyDBParameterGroup",
          "rds:ModifyDBProxy", "rds:ModifyDBProxyTargetGroup", "rds:ModifyDBSubnetGroup", "rds:RebootDBInstance",
          "rds:RegisterDBProxyTargets", "rds:RemoveTagsFromResource", "rds:ResetDBParameterGroup",
        ]
        Resource = "*"
      },
      {
        Sid    = "ManageSecrets"
        Effect = "Allow"
        Action = [
          "secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret",
          "secretsmanager:GetResourcePolicy", "secretsmanager:GetSecretValue", "secretsmanager:ListSecretVersionIds", "secretsmanager:PutSecretValue",
          "secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:UpdateSecret", "secretsmanager:UpdateSecretVersionStage",
        ]
        Resource = local.secrets
      },
      {
        # The migration job makes the database's roles as the master.
        Sid      = "ReadMasterSecret"
        Effect   = "Allow"
        Action   = ["secretsmanager:CreateSecret", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:TagResource"]
        Resource = local.master_secrets
      },
      {
        Sid      = "MakePasswords"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetRandomPassword"]
        Resource = "*"
      },
      {
        Sid      = "MakeKeys"
        Effect   = "Allow"
        Action   = ["kms:CreateKey", "kms:ListAliases", "kms:TagResource"]
        Resource = "*"
      },
      {
        Sid    = "ManageKeys"
        Effect = "Allow"
        Action = [
          "kms:CreateAlias", "kms:CreateGrant", "kms:Decrypt", "kms:DeleteAlias", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:GenerateDataKey",
          "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion",
          "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
        ]
        Resource = ["${local.arn.prefix.kms}:key/*", "${local.arn.prefix.kms}:alias/pmp-*"]
      },
    ]

    runner = [
      {
        Sid    = "ReadRunner"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags", "ec2:DescribeImages",
          "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions", "autoscaling:DescribeWarmPool", "autoscaling:DescribeInstanceRefreshes",
          "ec2:DescribeInstances",
        ]
        Resource = "*"
      },
      {
        Sid    = "ManageRunner"
        Effect = "Allow"
        Action = [
          "autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags", "autoscaling:DeleteAutoScalingGroup", "autoscaling:DeleteTags",
          "autoscaling:StartInstanceRefresh", "autoscaling:UpdateAutoScalingGroup", "ec2:CreateLaunchTemplate", "ec2:CreateLaunchTemplateVersion",
          "ec2:DeleteLaunchTemplate", "ec2:ModifyLaunchTemplate", "ec2:RunInstances", "ec2:GetLaunchTemplateData",
        ]
        Resource = "*"
      },
      {
        # The runner's image is published by AWS as a parameter.
        Sid      = "FindImage"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParameters"]
        Resource = "arn:aws:ssm:${var.region}::parameter/aws/service/*"
      },
    ]

    monitoring = [
      {
        Sid      = "ReadMonitoring"
        Effect   = "Allow"
        Action   = ["cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource", "sns:GetSubscriptionAttributes", "sns:ListSubscriptionsByTopic"]
        Resource = "*"
      },
      {
        Sid    = "ManageMonitoring"
        Effect = "Allow"
        Action = [
          "cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource",
          "cloudwatch:UntagResource", "cloudwatch:PutCompositeAlarm", "logs:PutMetricFilter", "logs:DeleteMetricFilter", "logs:DescribeMetricFilters",
          "sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes", "sns:ListTagsForResource", "sns:SetTopicAttributes", "sns:Subscribe",
          "sns:TagResource", "sns:UntagResource", "sns:Unsubscribe",
        ]
        Resource = "*"
      },
      {
        Sid    = "ManageClients"
        Effect = "Allow"
        Action = [
          "cognito-idp:CreateResourceServer", "cognito-idp:CreateUserPool", "cognito-idp:CreateUserPoolClient", "cognito-idp:CreateUserPoolDomain",
          "cognito-idp:DeleteResourceServer", "cognito-idp:DeleteUserPool", "cognito-idp:DeleteUserPoolClient", "cognito-idp:DeleteUserPoolDomain",
          "cognito-idp:DescribeResourceServer", "cognito-idp:DescribeUserPool", "cognito-idp:DescribeUserPoolClient",
          "cognito-idp:DescribeUserPoolDomain", "cognito-idp:GetUserPoolMfaConfig", "cognito-idp:ListUserPoolClients", "cognito-idp:SetUserPoolMfaConfig",
          "cognito-idp:TagResource", "cognito-idp:UntagResource", "cognito-idp:UpdateResourceServer", "cognito-idp:UpdateUserPool",
          "cognito-idp:UpdateUserPoolClient",
        ]
        Resource = "*"
      },
    ]

    service = [
      {
        Sid    = "ManageFunctions"
        Effect = "Allow"
        Action = [
          "lambda:AddPermission", "lambda:CreateAlias", "lambda:CreateFunction", "lambda:DeleteAlias", "lambda:DeleteFunction", "lambda:DeleteFunctionConcurrency",
          "lambda:DeleteFunctionEventInvokeConfig", "lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration",
          "lambda:GetFunctionEventInvokeConfig", "lambda:GetAlias", "lambda:GetPolicy", "lambda:ListTags", "lambda:ListVersionsByFunction", "lambda:PublishVersion",
          "lambda:PutFunctionConcurrency", "lambda:PutFunctionEventInvokeConfig", "lambda:RemovePermission", "lambda:TagResource",
          "lambda:UntagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig",
        ]
        Resource = [for environment in var.environments : "${local.arn.prefix.lambda}:function:pmp-${environment}*"]
      },
      {
        Sid    = "ManageQueues"
        Effect = "Allow"
        Action = [
          "sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:ListQueueTags", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue",
        ]
        Resource = "arn:aws:sqs:${var.region}:${var.account_id}:pmp-*"
      },
      {
        Sid      = "ManageApis"
        Effect   = "Allow"
        Action   = ["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:POST", "apigateway:PUT", "apigateway:TagResource", "apigateway:UntagResource"]
        Resource = "*"
      },
      {
        Sid      = "ManageCertificates"
        Effect   = "Allow"
        Action   = ["acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:DescribeCertificate", "acm:ListTagsForCertificate", "acm:RequestCertificate", "acm:RemoveTagsFromCertificate"]
        Resource = "*"
      },
      {
        Sid      = "ManageRecords"
        Effect   = "Allow"
        Action   = ["route53:ChangeResourceRecordSets", "route53:GetHostedZone", "route53:ListResourceRecordSets", "route53:ListTagsForResource"]
        Resource = "arn:aws:route53:::hostedzone/${var.hosted_zone_id}"
      },
      {
        Sid      = "FindZones"
        Effect   = "Allow"
        Action   = ["route53:GetChange", "route53:ListHostedZones", "route53:ListHostedZonesByName"]
        Resource = "*"
      },
      {
        Sid    = "ManageImportBuckets"
        Effect = "Allow"
        Action = [
          "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetAccelerateConfiguration",
          "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLogging", "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration",
          "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment",
          "s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration",
          "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListBucketVersions", "s3:PutBucketNotification",
          "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging",
          "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutObject", "s3:PutBucketLogging", "s3:PutBucketCORS",
        ]
        Resource = flatten([for environment in var.environments : [
          "arn:aws:s3:::pmp-${environment}-imports-${var.account_id}-${var.region}", "arn:aws:s3:::pmp-${environment}-imports-${var.account_id}-${var.region}/*",
        ]])
      },
      {
        Sid      = "ManageSchedules"
        Effect   = "Allow"
        Action   = ["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:GetSchedule", "scheduler:UpdateSchedule"]
        Resource = [for environment in var.environments : "${local.arn.prefix.scheduler}:schedule/default/pmp-${environment}-*"]
      },
      {
        # API Gateway's access logs go through CloudWatch's log delivery, which is set up in the caller's name.
        Sid      = "DeliverAccessLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:GetLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"]
        Resource = "*"
      },
    ]

    iam = [
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
          "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:ListRoleTags", "iam:TagRole", "iam:UntagRole",
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
        Resource = [for environment in var.environments : "${local.arn.iam}:instance-profile${local.iam_path}pmp-${environment}-*"]
      },
      {
        Sid       = "PassRolesToTheirServices"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = local.roles
        Condition = { StringEquals = { "iam:PassedToService" = local.role_services } }
      },
      {
        Sid       = "MakeServiceLinkedRoles"
        Effect    = "Allow"
        Action    = ["iam:CreateServiceLinkedRole"]
        Resource  = "${local.arn.iam}:role/aws-service-role/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = local.linked_services } }
      },
      {
        Sid      = "ReadKnownPolicies"
        Effect   = "Allow"
        Action   = ["iam:GetPolicy", "iam:GetPolicyVersion"]
        Resource = local.attachable_policy_arns
      },
    ]

    guardrails = [
      {
        Sid    = "NeverChangeDeliveryItself"
        Effect = "Deny"
        Action = ["iam:*"]
        Resource = [
          "${local.arn.iam}:user/*", "${local.arn.iam}:group/*", "${local.arn.iam}:policy/*", "${local.arn.iam}:oidc-provider/*",
          "${local.arn.iam}:role${local.iam_path}gitlab-*",
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
        Resource = var.kms_key_arn
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
    ]
  }

  attachable_policy_arns = [
    "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole",
  ]
  # Who may be given one of PMP's roles.
  role_services = [
    "ec2.amazonaws.com", "lambda.amazonaws.com", "monitoring.rds.amazonaws.com", "rds.amazonaws.com",
    "scheduler.amazonaws.com", "vpc-flow-logs.amazonaws.com",
  ]
  # Roles that AWS makes for itself when a service is used for the first time in an account.
  linked_services = [
    "autoscaling.amazonaws.com", "ops.apigateway.amazonaws.com", "rds.amazonaws.com",
  ]
}
