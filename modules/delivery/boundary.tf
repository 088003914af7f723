# Permissions boundary of every role that the delivery identity makes: no policy of such a role grants more than this.
resource "aws_iam_policy" "boundary" {
  name        = "pmp-boundary"
  path        = local.iam_path
  description = "Upper bound of every role that the delivery of PMP makes"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteLogsAndTraces"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents", "logs:CreateLogGroup", "logs:PutRetentionPolicy"]
        Resource = ["${local.arn.prefix.logs}:log-group:*"]
      },
      {
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["cloudwatch:PutMetricData", "xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
      {
        Sid    = "AttachToVpc"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs", "ec2:GetSecurityGroupsForVpc", "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
      },
      {
        Sid      = "UseImportsBuckets"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject"]
        Resource = flatten([for environment in var.environments : ["arn:aws:s3:::pmp-${environment}-imports-${var.account_id}-${var.region}", "arn:aws:s3:::pmp-${environment}-imports-${var.account_id}-${var.region}/*"]])
      },
      {
        Sid      = "RecordErasures"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = [for environment in var.environments : "arn:aws:s3:::pmp-${environment}-erasures-${var.account_id}-${var.region}/erasures/*"]
      },
      {
        Sid      = "ConnectToDatabases"
        Effect   = "Allow"
        Action   = ["rds-db:connect"]
        Resource = ["${local.arn.prefix.rds-db}:dbuser:*/pmp_*"]
      },
      {
        Sid      = "InvokeFunctions"
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = [for environment in var.environments : "${local.arn.prefix.lambda}:function:pmp-${environment}*"]
      },
      {
        Sid      = "SendFailedEvents"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = "${local.arn.prefix.sqs}:pmp-*"
      },
      {
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = concat(local.secrets, [local.master_secrets])
      },
      {
        Sid      = "ReadParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParameters"]
        Resource = local.parameters
      },
      {
        Sid       = "UseKeysThroughServices"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "${local.arn.prefix.kms}:key/*"
        Condition = { StringLike = { "kms:ViaService" = ["lambda.${var.region}.amazonaws.com", "s3.${var.region}.amazonaws.com", "secretsmanager.${var.region}.amazonaws.com", "sns.${var.region}.amazonaws.com", "sqs.${var.region}.amazonaws.com", "ssm.${var.region}.amazonaws.com"] } }
      },
      {
        Sid    = "UseSessionManager"
        Effect = "Allow"
        Action = [
          "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage", "ec2messages:GetEndpoint",
          "ec2messages:GetMessages", "ec2messages:SendReply", "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        ]
        Resource = "*"
      },
      {
        Sid      = "DenyStates"
        Effect   = "Deny"
        Action   = ["s3:*"]
        Resource = [local.arn.state, "${local.arn.state}/*"]
      },
    ]
  })
}
