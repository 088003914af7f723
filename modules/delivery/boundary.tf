# Permissions boundary of every role that the environment's identity makes: no policy of such a role grants more than this.
resource "aws_iam_policy" "boundary" {
  name        = "${local.prefix}-boundary"
  path        = local.iam_path
  description = "Upper bound of every role of PMP in ${var.environment}"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # RDS writes the samples of all instances of an account to one group.
        Sid    = "WriteLogs"
        Effect = "Allow"
        Action = [
          "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", "logs:PutRetentionPolicy",
        ]
        Resource = [
          for name in ["/aws/lambda/${local.prefix}*", "/pmp/${local.prefix}*", "RDS*"] : "${local.arn.prefix.logs}:log-group:${name}"
        ]
      },
      {
        Sid      = "FindLogGroups"
        Effect   = "Allow"
        Action   = ["logs:DescribeLogGroups"]
        Resource = "${local.arn.prefix.logs}:log-group:*"
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
        Resource = ["arn:aws:s3:::${local.imports_buckets}", "arn:aws:s3:::${local.imports_buckets}/*"]
      },
      {
        Sid      = "RecordErasures"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "arn:aws:s3:::${local.erasures_buckets}/erasures/*"
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
        Resource = "${local.arn.prefix.lambda}:function:${local.prefix}*"
      },
      {
        Sid      = "UseQueues"
        Effect   = "Allow"
        Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        Resource = "${local.arn.prefix.sqs}:${local.prefix}*"
      },
      {
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = local.secrets
      },
      {
        Sid      = "ReadParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParameters"]
        Resource = concat([local.parameters], local.account_parameters)
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
      # Closes another environment's network to a function: so the database logins above are its own.
      merge(local.only_own_tags, { Sid = "DenyOtherEnvironments" }),
    ]
  })
}
