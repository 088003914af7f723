# Aurora instead of an RDS instance: one storage for a writer and its readers, each of which serves as much as its load asks
# for (Serverless v2). By the provider's resources: terraform-aws-modules/rds-aurora would bring a second stand-in
# (docs/adr/0316).
locals {
  clusters = { for key, generation in local.generations : key => generation if generation.engine == "aurora-postgresql" }
  # The first becomes the writer; after a failover it may be any other.
  cluster_instances = merge([for key, cluster in local.clusters : {
    for number in range(1, 2 + try(var.aurora.readers, 0)) : "${key}/${number}" => { cluster = key, identifier = "${cluster.identifier}-${number}" }
  }]...)

  # By default, Aurora accepts connections without TLS (rds.force_ssl = 0); RDS of version 15 and later does not.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/ssl-certificate-rotation-aurora-postgresql.html
  # Its storage takes no full pages, and its parameter groups have no wal_compression.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraPostgreSQL.Reference.ParameterGroups.html
  cluster_parameters = merge({ for name, value in local.parameters : name => value if name != "wal_compression" }, { "rds.force_ssl" = "1" })
}

resource "aws_rds_cluster_parameter_group" "this" {
  for_each = local.clusters

  name_prefix = "${each.value.identifier}-"
  family      = "aurora-postgresql16"
  description = "PostgreSQL of ${each.value.identifier}"

  dynamic "parameter" {
    for_each = local.cluster_parameters

    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# A log group that RDS makes by itself has neither key nor retention.
resource "aws_cloudwatch_log_group" "cluster" {
  for_each = local.clusters

  name              = "/aws/rds/cluster/${each.value.identifier}/postgresql"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_rds_cluster" "this" {
  # checkov:skip=CKV2_AWS_8: automated backups for backup_retention_days; modules/backups has AWS Backup as an option
  # checkov:skip=CKV_AWS_139: follows enable_protection, as the instance's
  # checkov:skip=CKV2_AWS_27: statements are not logged, see local.parameters
  for_each = local.clusters

  cluster_identifier = each.value.identifier
  engine             = "aurora-postgresql"
  engine_mode        = "provisioned"
  engine_version     = var.engine_version
  # A restored cluster has the databases of what it was made from.
  database_name               = each.key == "original" ? local.database_name : null
  port                        = local.port
  allow_major_version_upgrade = false
  apply_immediately           = true

  serverlessv2_scaling_configuration {
    min_capacity = var.aurora.min_acu
    max_capacity = var.aurora.max_acu
  }

  storage_type      = var.aurora.enable_io_optimized ? "aurora-iopt1" : null
  storage_encrypted = true
  kms_key_id        = var.kms_key_arn

  # The snapshot of an RDS instance is named by its ARN: AWS migrates it.
  # https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterFromSnapshot.html
  snapshot_identifier = each.value.snapshot == null ? null : (
    lookup(local.from_instance, each.key, false) ? "arn:aws:rds:${local.region}:${local.account_id}:snapshot:${each.value.snapshot}" : each.value.snapshot
  )

  dynamic "restore_to_point_in_time" {
    for_each = each.value.point_in_time[*]

    content {
      source_cluster_identifier  = try(restore_to_point_in_time.value.source_db_instance_identifier, null)
      source_cluster_resource_id = try(restore_to_point_in_time.value.source_dbi_resource_id, null)
      restore_to_time            = try(restore_to_point_in_time.value.restore_time, null)
      use_latest_restorable_time = try(restore_to_point_in_time.value.use_latest_restorable_time, null) == "true" ? true : null
    }
  }

  db_subnet_group_name            = var.database_subnet_group_name
  vpc_security_group_ids          = [var.security_group_id_by_role.database]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this[each.key].name

  master_username                     = "pmp_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.kms_key_arn
  iam_database_authentication_enabled = true

  backup_retention_period      = var.backup_retention_days
  preferred_backup_window      = "01:00-02:00"
  preferred_maintenance_window = "sun:03:00-sun:04:00"
  copy_tags_to_snapshot        = true
  delete_automated_backups     = !var.enable_protection
  deletion_protection          = var.enable_protection
  skip_final_snapshot          = !var.enable_protection
  final_snapshot_identifier    = "final-${each.value.identifier}"

  database_insights_mode                = var.insights_mode
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.kms_key_arn
  performance_insights_retention_period = var.insights_mode == "advanced" ? 465 : 7

  enabled_cloudwatch_logs_exports = ["postgresql"]

  depends_on = [aws_cloudwatch_log_group.cluster]
}

resource "aws_rds_cluster_instance" "this" {
  # checkov:skip=CKV_AWS_353: the cluster enables Performance Insights for all its instances
  for_each = local.cluster_instances

  identifier                 = each.value.identifier
  cluster_identifier         = aws_rds_cluster.this[each.value.cluster].id
  engine                     = aws_rds_cluster.this[each.value.cluster].engine
  engine_version             = aws_rds_cluster.this[each.value.cluster].engine_version
  instance_class             = "db.serverless"
  db_subnet_group_name       = var.database_subnet_group_name
  ca_cert_identifier         = "rds-ca-rsa2048-g1"
  publicly_accessible        = false
  auto_minor_version_upgrade = true
  apply_immediately          = true
  copy_tags_to_snapshot      = true
  monitoring_interval        = var.monitoring_interval_seconds
  monitoring_role_arn        = aws_iam_role.monitoring.arn
  # A reader follows the writer's size only in these two tiers, and is then large enough to take over.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.how-it-works.html
  promotion_tier = 1
}
