# The registry's RDS module has no proxy. Clients log in to it by IAM, it logs in to the database with pmp_app's secret.
resource "aws_db_proxy" "this" {
  name                   = var.name
  engine_family          = "POSTGRESQL"
  role_arn               = aws_iam_role.proxy.arn
  vpc_subnet_ids         = var.proxy_subnet_ids
  vpc_security_group_ids = [var.security_group_id_by_role.proxy]
  require_tls            = true
  idle_client_timeout    = var.proxy.idle_client_timeout_seconds
  # It would log statements, and with them personal data.
  debug_logging = false

  auth {
    description = "pmp_app"
    auth_scheme = "SECRETS"
    iam_auth    = "REQUIRED"
    secret_arn  = aws_secretsmanager_secret.this["pmp_app"].arn
  }

  # Without the policy the proxy cannot read the secret, and says so only in its log. The secret is empty until the first
  # migration; until then the proxy exists and refuses every login.
  depends_on = [aws_cloudwatch_log_group.proxy, aws_iam_role_policy.proxy]
}

resource "aws_db_proxy_default_target_group" "this" {
  db_proxy_name = aws_db_proxy.this.name

  connection_pool_config {
    max_connections_percent      = var.proxy.max_connections_percent
    max_idle_connections_percent = floor(var.proxy.max_connections_percent / 2)
    connection_borrow_timeout    = var.proxy.borrow_timeout_seconds
  }
}

resource "aws_db_proxy_target" "this" {
  db_proxy_name          = aws_db_proxy.this.name
  target_group_name      = aws_db_proxy_default_target_group.this.name
  db_instance_identifier = local.serving.instance
  db_cluster_identifier  = local.serving.cluster

  # A cluster is one to connect to with its first instance.
  depends_on = [aws_rds_cluster_instance.this]
}

# A cluster alone has readers; the proxy leads each transaction on this endpoint to one of them, mostly to the same for one
# connection. Where all are unavailable, it waits for the borrow timeout and fails: the function then asks the writer.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-endpoints.html
resource "aws_db_proxy_endpoint" "readers" {
  count = local.is_aurora && try(var.aurora.readers, 0) > 0 ? 1 : 0

  db_proxy_name          = aws_db_proxy.this.name
  db_proxy_endpoint_name = "${var.name}-readers"
  vpc_subnet_ids         = var.proxy_subnet_ids
  vpc_security_group_ids = [var.security_group_id_by_role.proxy]
  target_role            = "READ_ONLY"

  # It requires that the proxy's cluster has a reader already.
  depends_on = [aws_db_proxy_target.this]
}

# A log group that the proxy makes by itself has neither key nor retention.
resource "aws_cloudwatch_log_group" "proxy" {
  name              = "/aws/rds/proxy/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# Trusted without a condition: RDS Proxy sends no global condition keys, so any of them would refuse it.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.html, "Quotas and limitations"
resource "aws_iam_role" "proxy" {
  name                 = "${var.name}-database-proxy"
  path                 = "/pmp/"
  description          = "Lets RDS Proxy read the secret of pmp_app"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "proxy" {
  name = "read-secret"
  role = aws_iam_role.proxy.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.this["pmp_app"].arn
      },
      {
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.amazonaws.com" } }
      },
    ]
  })
}
