mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pmp/x" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x" }
  }
  mock_resource "aws_db_proxy_default_target_group" {
    defaults = { name = "default" }
  }
  mock_resource "aws_db_proxy" {
    defaults = { arn = "arn:aws:rds:eu-west-1:123456789012:db-proxy:prx-0123456789abcdef0", endpoint = "proxy.example" }
  }
  mock_resource "aws_db_proxy_endpoint" {
    defaults = { endpoint = "readers.example" }
  }
  mock_resource "aws_rds_cluster" {
    defaults = {
      endpoint            = "writer.example"
      cluster_resource_id = "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
      master_user_secret  = [{ kms_key_id = "", secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-x", secret_status = "active" }]
    }
  }
}

variables {
  name                       = "pmp-prod"
  environment                = "prod"
  engine                     = "aurora-postgresql"
  instance_class             = "db.serverless"
  aurora                     = { min_acu = 2, max_acu = 16, readers = 2, enable_io_optimized = true }
  storage_gib                = null
  enable_multi_az            = true
  enable_protection          = true
  backup_retention_days      = 35
  proxy                      = { max_connections_percent = 85 }
  database_subnet_group_name = "pmp-prod"
  proxy_subnet_ids           = ["subnet-1", "subnet-2"]
  security_group_id_by_role  = { database = "sg-1", proxy = "sg-2" }
  kms_key_arn                = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  permissions_boundary_arn   = "arn:aws:iam::123456789012:policy/pmp/pmp-prod-boundary"
}

run "a_cluster_serves_instead_of_an_instance" {
  assert {
    condition     = length(module.instance) == 0 && output.engine == "aurora-postgresql" && output.database_identifier == "pmp-prod"
    error_message = "there must be a cluster and no RDS instance"
  }

  assert {
    condition     = aws_db_proxy_target.this.db_cluster_identifier == "pmp-prod" && aws_db_proxy_target.this.db_instance_identifier == null
    error_message = "the proxy must lead to the cluster"
  }

  assert {
    condition     = output.database_host == "writer.example" && output.master_secret_arn == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-x" && output.database_resource_id == "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    error_message = "migrations must reach the writer with the cluster's own master"
  }

  assert {
    condition = [for instance in aws_rds_cluster_instance.this : [instance.identifier, instance.instance_class, instance.promotion_tier]] == [
      ["pmp-prod-1", "db.serverless", 1], ["pmp-prod-2", "db.serverless", 1], ["pmp-prod-3", "db.serverless", 1],
    ]
    error_message = "there must be a writer and two readers, each large enough to take over"
  }

  assert {
    condition     = one(aws_rds_cluster.this["original"].serverlessv2_scaling_configuration).max_capacity == 16 && aws_rds_cluster.this["original"].storage_type == "aurora-iopt1"
    error_message = "capacity and storage must be as asked"
  }
}

run "readers_have_an_endpoint_of_the_proxy" {
  assert {
    condition     = output.reader_host == "readers.example" && aws_db_proxy_endpoint.readers[0].target_role == "READ_ONLY"
    error_message = "reads must go to the proxy's read-only endpoint, not to ${output.reader_host}"
  }
}

run "without_readers_reads_go_to_the_writer" {
  variables {
    aurora = { min_acu = 0.5, max_acu = 1 }
  }

  assert {
    condition     = output.reader_host == output.proxy_host && length(aws_db_proxy_endpoint.readers) == 0 && length(aws_rds_cluster_instance.this) == 1
    error_message = "without readers there must be no read-only endpoint: RDS Proxy refuses its connections"
  }
}

# What the RDS module does for an instance.
run "the_cluster_is_as_closed_as_an_instance" {
  assert {
    condition = alltrue([
      for cluster in aws_rds_cluster.this : cluster.storage_encrypted && cluster.iam_database_authentication_enabled && cluster.deletion_protection &&
      cluster.manage_master_user_password && !cluster.skip_final_snapshot && !cluster.delete_automated_backups && cluster.kms_key_id == var.kms_key_arn
    ]) && alltrue([for instance in aws_rds_cluster_instance.this : !instance.publicly_accessible])
    error_message = "encryption, IAM, protection and the managed password must be on, public access off"
  }

  assert {
    condition     = { for parameter in aws_rds_cluster_parameter_group.this["original"].parameter : parameter.name => parameter.value }["rds.force_ssl"] == "1"
    error_message = "Aurora takes connections without TLS unless rds.force_ssl is set"
  }

  assert {
    condition     = !contains(keys(local.cluster_parameters), "wal_compression") && contains(keys(local.cluster_parameters), "log_parameter_max_length")
    error_message = "Aurora has no wal_compression, and every other parameter of an instance"
  }

  assert {
    condition     = aws_cloudwatch_log_group.cluster["original"].name == "/aws/rds/cluster/pmp-prod/postgresql" && aws_cloudwatch_log_group.cluster["original"].kms_key_id == var.kms_key_arn
    error_message = "the log must be kept under the environment's key"
  }
}

run "a_snapshot_of_rds_moves_to_a_cluster_beside_the_instance" {
  variables {
    engine         = "postgres"
    instance_class = "db.r6g.large"
    storage_gib    = { initial = 100, max = 1000 }
    restores       = [{ snapshot = "pmp-prod-before-aurora", engine = "aurora-postgresql" }, { point_in_time = "latest", source = "pmp-prod-r1" }]
  }

  assert {
    condition     = keys(module.instance) == ["original"] && keys(aws_rds_cluster.this) == ["r1", "r2"] && output.database_identifier == "pmp-prod-r2"
    error_message = "the instance must stay, and later restores must be clusters"
  }

  assert {
    condition     = aws_rds_cluster.this["r1"].snapshot_identifier == "arn:aws:rds:eu-west-1:123456789012:snapshot:pmp-prod-before-aurora"
    error_message = "RDS takes the snapshot of an instance by its ARN only"
  }

  assert {
    condition     = one(aws_rds_cluster.this["r2"].restore_to_point_in_time).source_cluster_identifier == "pmp-prod-r1"
    error_message = "a later restore must start from the cluster"
  }
}

run "a_snapshot_of_a_cluster_is_named_by_its_name" {
  variables {
    restores = [{ snapshot = "final-pmp-prod-a1b2" }]
  }

  assert {
    condition     = aws_rds_cluster.this["r1"].snapshot_identifier == "final-pmp-prod-a1b2"
    error_message = "the snapshot of a cluster is ${aws_rds_cluster.this["r1"].snapshot_identifier}"
  }
}

run "aurora_without_its_capacity_is_refused" {
  command = plan
  variables {
    aurora = null
  }
  expect_failures = [var.aurora]
}

run "capacity_for_rds_is_refused" {
  command = plan
  variables {
    engine         = "postgres"
    instance_class = "db.r6g.large"
    storage_gib    = { initial = 100, max = 1000 }
  }
  expect_failures = [var.aurora]
}

run "capacity_that_ends_below_its_start_is_refused" {
  command = plan
  variables {
    aurora = { min_acu = 8, max_acu = 4 }
  }
  expect_failures = [var.aurora]
}

run "a_capacity_of_zero_is_refused" {
  command = plan
  variables {
    aurora = { min_acu = 0, max_acu = 4 }
  }
  expect_failures = [var.aurora]
}

run "sixteen_readers_are_refused" {
  command = plan
  variables {
    aurora = { min_acu = 2, max_acu = 4, readers = 16 }
  }
  expect_failures = [var.aurora]
}

run "another_engine_is_refused" {
  command = plan
  variables {
    engine = "aurora"
  }
  expect_failures = [var.engine]
}

run "an_instance_of_rds_without_a_class_is_refused" {
  command = plan
  variables {
    engine      = "postgres"
    aurora      = null
    storage_gib = { initial = 100, max = 1000 }
  }
  expect_failures = [var.instance_class]
}

run "an_instance_of_rds_without_storage_is_refused" {
  command = plan
  variables {
    engine         = "postgres"
    instance_class = "db.r6g.large"
    aurora         = null
  }
  expect_failures = [var.storage_gib]
}

run "a_move_to_aurora_at_an_instant_is_refused" {
  command = plan
  variables {
    engine         = "postgres"
    instance_class = "db.r6g.large"
    storage_gib    = { initial = 100, max = 1000 }
    restores       = [{ point_in_time = "latest", source = "pmp-prod", engine = "aurora-postgresql" }]
  }
  expect_failures = [var.restores]
}
