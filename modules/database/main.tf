data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

locals {
  account_id = data.aws_caller_identity.this.account_id
  region     = data.aws_region.this.name
  port       = 5432

  database_name = "pmp"

  # A restore never overwrites: RDS makes another instance, which serves from then on beside the one before it
  # (docs/adr/0314). Keyed as in the addresses of a plan: original, r1, r2, …
  generations = { for number, restore in concat([null], var.restores) : number == 0 ? "original" : "r${number}" => {
    identifier = number == 0 ? var.name : "${var.name}-r${number}"
    engine     = local.engines[number]
    snapshot   = try(restore.snapshot, null)
    point_in_time = try(restore.point_in_time, null) == null ? null : merge(
      restore.point_in_time == "latest" ? { use_latest_restorable_time = "true" } : { restore_time = restore.point_in_time },
      startswith(restore.source, "arn:") ? { source_db_instance_automated_backups_arn = restore.source } :
      can(regex("^(cluster|db)-", restore.source)) ? { source_dbi_resource_id = restore.source } :
      { source_db_instance_identifier = restore.source },
    )
  } if number >= var.retired_instances }
  # The engine of each generation. None leads back from Aurora.
  engines = [
    for number in range(length(var.restores) + 1) :
    contains(concat([var.engine], slice(var.restores[*].engine, 0, number)), "aurora-postgresql") ? "aurora-postgresql" : "postgres"
  ]

  serving_name   = length(var.restores) == 0 ? "original" : "r${length(var.restores)}"
  serving_engine = local.engines[length(var.restores)]
  is_aurora      = local.serving_engine == "aurora-postgresql"
  serving = local.is_aurora ? {
    instance    = null
    cluster     = aws_rds_cluster.this[local.serving_name].cluster_identifier
    host        = aws_rds_cluster.this[local.serving_name].endpoint
    resource_id = aws_rds_cluster.this[local.serving_name].cluster_resource_id
    secret_arn  = one(aws_rds_cluster.this[local.serving_name].master_user_secret).secret_arn
    } : {
    instance    = module.instance[local.serving_name].db_instance_identifier
    cluster     = null
    host        = module.instance[local.serving_name].db_instance_address
    resource_id = module.instance[local.serving_name].db_instance_resource_id
    secret_arn  = module.instance[local.serving_name].db_instance_master_user_secret_arn
  }

  # Whether a generation's snapshot is that of an RDS instance: the one before it was one.
  from_instance = { for number in range(1, length(local.engines)) : "r${number}" => local.engines[number - 1] == "postgres" }

  # Only what differs from the family postgres16: AWS reports a parameter at its default in another way than it was set, and
  # every plan would show a difference. By default the family requires TLS (rds.force_ssl), logs no statements
  # (log_statement: CREATE ROLE would show a password), and no parameters of failed ones
  # (log_parameter_max_length_on_error). tests/postgres16.yml holds the defaults with their sources.
  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Parameters.html
  parameters = {
    "log_min_duration_statement" = "500"
    "log_lock_waits"             = "1"
    "log_connections"            = "1"
    "log_disconnections"         = "1"
    "log_temp_files"             = "10240"
    # Parameters of a slow statement are personal data: email addresses. So is the DETAIL of an error, which names the key
    # that exists already.
    "log_parameter_max_length" = "0"
    "log_error_verbosity"      = "terse"
    # A transaction that its client forgot blocks vacuum and holds a connection of the pool.
    "idle_in_transaction_session_timeout" = "60000"
    # The first change of a page after a checkpoint writes all of it to the WAL: a third as much, for 0.1 ms of CPU per
    # event (docs/adr/0231). PostgreSQL 15 and later know zstd.
    "wal_compression" = "zstd"
    # No statement outlives the longest run of a function, 900 s.
    "statement_timeout" = "900000"
  }
}

module "instance" {
  #checkov:skip=CKV_TF_1:a registry module, pinned by its exact version
  source  = "terraform-aws-modules/rds/aws"
  version = "6.13.1"

  for_each = { for key, generation in local.generations : key => generation if generation.engine == "postgres" }

  identifier     = each.value.identifier
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class
  # A restored instance has the databases of what it was made from: RDS takes no name for them.
  db_name                     = each.key == "original" ? local.database_name : null
  port                        = local.port
  multi_az                    = var.enable_multi_az
  auto_minor_version_upgrade  = true
  allow_major_version_upgrade = false
  apply_immediately           = true
  maintenance_window          = "sun:03:00-sun:04:00"

  allocated_storage     = try(var.storage_gib.initial, null)
  max_allocated_storage = try(var.storage_gib.max, null)
  storage_type          = "gp3"
  iops                  = try(var.storage_performance.iops, null)
  storage_throughput    = try(var.storage_performance.throughput_mib, null)
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  snapshot_identifier      = each.value.snapshot
  restore_to_point_in_time = each.value.point_in_time

  db_subnet_group_name   = var.database_subnet_group_name
  vpc_security_group_ids = [var.security_group_id_by_role.database]

  username                            = "pmp_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.kms_key_arn
  iam_database_authentication_enabled = true
  ca_cert_identifier                  = "rds-ca-rsa2048-g1"

  backup_retention_period          = var.backup_retention_days
  backup_window                    = "01:00-02:00"
  copy_tags_to_snapshot            = true
  delete_automated_backups         = !var.enable_protection
  deletion_protection              = var.enable_protection
  skip_final_snapshot              = !var.enable_protection
  final_snapshot_identifier_prefix = "final"

  # Performance Insights' console is gone, its metrics (DBLoad and its parts) are Database Insights'.
  database_insights_mode                = var.insights_mode
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.kms_key_arn
  performance_insights_retention_period = var.insights_mode == "advanced" ? 465 : 7

  monitoring_interval = var.monitoring_interval_seconds
  monitoring_role_arn = aws_iam_role.monitoring.arn

  enabled_cloudwatch_logs_exports        = ["postgresql", "upgrade"]
  create_cloudwatch_log_group            = true
  cloudwatch_log_group_retention_in_days = var.log_retention_days
  cloudwatch_log_group_kms_key_id        = var.kms_key_arn

  create_db_option_group          = false
  family                          = "postgres16"
  parameter_group_name            = each.value.identifier
  parameter_group_use_name_prefix = true
  parameter_group_description     = "PostgreSQL of ${each.value.identifier}"
  parameters                      = [for name, value in local.parameters : { name = name, value = value }]
}

moved {
  from = module.instance
  to   = module.instance["original"]
}

# The module can make this role, but under no path, and the delivery identity may make roles under /pmp/ only.
resource "aws_iam_role" "monitoring" {
  name                 = "${var.name}-database-monitoring"
  path                 = "/pmp/"
  description          = "Lets RDS Enhanced Monitoring write its samples"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

# RDSOSMetrics is one log group for all instances of an account and region, with a stream per instance.
resource "aws_iam_role_policy" "monitoring" {
  name = "write-samples"
  role = aws_iam_role.monitoring.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:PutRetentionPolicy"]
        Resource = "arn:aws:logs:${local.region}:${local.account_id}:log-group:RDS*"
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:${local.region}:${local.account_id}:log-group:RDS*:log-stream:*"
      },
    ]
  })
}
