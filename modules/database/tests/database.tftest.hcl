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
}

variables {
  name                       = "pmp-dev"
  environment                = "dev"
  instance_class             = "db.t4g.small"
  storage_gib                = { initial = 20, max = 50 }
  enable_multi_az            = false
  enable_protection          = true
  backup_retention_days      = 7
  proxy                      = { max_connections_percent = 85 }
  database_subnet_group_name = "pmp-dev"
  proxy_subnet_ids           = ["subnet-1", "subnet-2"]
  security_group_id_by_role  = { database = "sg-1", proxy = "sg-2" }
  kms_key_arn                = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  permissions_boundary_arn   = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}

run "provisioned_storage_from_400_gib_is_accepted" {
  command = plan

  variables {
    storage_gib         = { initial = 400, max = 1000 }
    storage_performance = { iops = 12000, throughput_mib = 4000 }
  }
}

run "provisioned_storage_below_400_gib_is_refused" {
  command = plan

  variables {
    storage_gib         = { initial = 399, max = 1000 }
    storage_performance = { iops = 20000, throughput_mib = 800 }
  }

  expect_failures = [var.storage_performance]
}

run "iops_below_the_baseline_are_refused" {
  command = plan

  variables {
    storage_gib         = { initial = 400, max = 1000 }
    storage_performance = { iops = 3000, throughput_mib = 800 }
  }

  expect_failures = [var.storage_performance]
}

run "throughput_above_what_gp3_has_is_refused" {
  command = plan

  variables {
    storage_gib         = { initial = 400, max = 1000 }
    storage_performance = { iops = 20000, throughput_mib = 4001 }
  }

  expect_failures = [var.storage_performance]
}

run "proxy_requires_tls_and_iam" {
  assert {
    condition     = aws_db_proxy.this.require_tls && !aws_db_proxy.this.debug_logging && one(aws_db_proxy.this.auth).iam_auth == "REQUIRED"
    error_message = "the proxy must require TLS and IAM, and must not log statements"
  }

  assert {
    condition     = one(aws_db_proxy.this.auth).secret_arn == aws_secretsmanager_secret.this["pmp_app"].arn
    error_message = "the proxy must log in as pmp_app"
  }

  assert {
    condition     = one(aws_db_proxy_default_target_group.this.connection_pool_config).max_connections_percent == 85
    error_message = "the pool must have the size that the sizing module gives"
  }

  assert {
    condition     = output.proxy_resource_id == "prx-0123456789abcdef0"
    error_message = "proxy_resource_id is ${output.proxy_resource_id}"
  }
}

# Enhanced Monitoring only writes its samples; the boundary would deny a read.
run "monitoring_role_cannot_read_logs" {
  assert {
    condition     = !strcontains(aws_iam_role_policy.monitoring.policy, "logs:Get")
    error_message = "the monitoring role must not read logs"
  }
}

# A wait for a connection and a statement (8 s, db/roles.sql) end before the function's socket timeout (14 s). Two attempts
# end before the gateway's limit (29 s). So the layer that fails reports its own error.
run "inner_timeouts_end_before_outer_ones" {
  assert {
    condition     = one(aws_db_proxy_default_target_group.this.connection_pool_config).connection_borrow_timeout + 8 < 14
    error_message = "the borrow timeout and a statement must end before the function's socket timeout"
  }

  assert {
    condition     = aws_db_proxy.this.idle_client_timeout > 30
    error_message = "an idle client must outlive the longest request"
  }

  assert {
    condition     = tonumber(local.parameters.statement_timeout) == 900 * 1000
    error_message = "no statement may outlive the longest function"
  }
}

run "roles_have_the_path_and_the_boundary" {
  assert {
    condition     = alltrue([for role in [aws_iam_role.proxy, aws_iam_role.monitoring] : role.path == "/pmp/" && role.permissions_boundary == var.permissions_boundary_arn])
    error_message = "roles must be created under /pmp/ and with the boundary"
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.proxy.policy).Statement[0].Resource == aws_secretsmanager_secret.this["pmp_app"].arn
    error_message = "the proxy must read the secret of pmp_app and no other"
  }
}

# RDS Proxy sends no global condition keys: a condition on one would deny it the secrets, and every login would fail.
run "proxy_role_trusts_rds_without_a_condition" {
  assert {
    condition = jsondecode(aws_iam_role.proxy.assume_role_policy).Statement == [{
      Effect    = "Allow"
      Principal = { Service = "rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
    error_message = "the proxy's role must trust rds.amazonaws.com without a condition"
  }
}

run "protected_secrets_can_be_restored_for_30_days" {
  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.recovery_window_in_days == 30])
    error_message = "a protected environment's secrets must stay restorable for 30 days"
  }
}

# Terraform refreshes a version by reading it, and the identity that plans must not read passwords.
run "secrets_are_created_without_a_value" {
  assert {
    condition     = length(aws_secretsmanager_secret.this) == 2 && length([for file in fileset(".", "*.tf") : file if strcontains(file(file), "aws_secretsmanager_secret_version\"")]) == 0
    error_message = "the migration job must write the passwords, not Terraform"
  }
}

run "unprotected_secrets_are_deleted_at_once" {
  variables {
    enable_protection = false
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.recovery_window_in_days == 0])
    error_message = "an unprotected environment must be destroyable and creatable again at once"
  }
}

# A parameter with its family's default, or a static one applied immediately, shows a difference in every plan on AWS.
run "parameters_are_dynamic_and_differ_from_the_default" {
  command = plan

  assert {
    condition     = length(setsubtract(keys(local.parameters), keys(yamldecode(file("tests/postgres16.yml"))))) == 0
    error_message = "tests/postgres16.yml must hold each parameter's default and apply type"
  }

  assert {
    condition     = [for name, value in local.parameters : name if yamldecode(file("tests/postgres16.yml"))[name].default == value] == []
    error_message = "leave these out, they are the family's defaults: ${join(", ", [for name, value in local.parameters : name if yamldecode(file("tests/postgres16.yml"))[name].default == value])}"
  }

  assert {
    condition     = alltrue([for name in keys(local.parameters) : yamldecode(file("tests/postgres16.yml"))[name].apply_type == "dynamic"])
    error_message = "a static parameter needs apply_method pending-reboot"
  }
}

# PMP relies on these parameters but does not set them, because they are the family's defaults.
run "defaults_require_tls_and_log_no_statements" {
  command = plan

  assert {
    condition = {
      for name in ["rds.force_ssl", "log_statement", "log_parameter_max_length_on_error"] :
      name => lookup(local.parameters, name, yamldecode(file("tests/postgres16.yml"))[name].default)
    } == { "rds.force_ssl" = "1", log_statement = "none", log_parameter_max_length_on_error = "0" }
    error_message = "TLS must be required, and neither statements nor their parameters may be logged"
  }
}

run "logs_show_no_personal_data" {
  command = plan

  assert {
    condition     = local.parameters.log_parameter_max_length == "0"
    error_message = "parameters of statements contain email addresses and must not be logged"
  }

  assert {
    condition     = local.parameters.log_error_verbosity == "terse"
    error_message = "the DETAIL of an error contains email addresses and must not be logged: Key (email_key)=(…) already exists"
  }
}

run "name_without_the_prefix_is_refused" {
  command = plan
  variables {
    name = "dev"
  }
  expect_failures = [var.name]
}

run "invalid_environment_is_refused" {
  command = plan
  variables {
    environment = "Dev!"
  }
  expect_failures = [var.environment]
}

run "old_instance_class_is_refused" {
  command = plan
  variables {
    instance_class = "db.t2.micro"
  }
  expect_failures = [var.instance_class]
}

run "untested_engine_version_is_refused" {
  command = plan
  variables {
    engine_version = "13"
  }
  expect_failures = [var.engine_version]
}

run "too_little_storage_is_refused" {
  command = plan
  variables {
    storage_gib = { initial = 10, max = 50 }
  }
  expect_failures = [var.storage_gib]
}

run "storage_that_cannot_grow_is_refused" {
  command = plan
  variables {
    storage_gib = { initial = 20, max = 21 }
  }
  expect_failures = [var.storage_gib]
}

run "missing_backups_are_refused" {
  command = plan
  variables {
    backup_retention_days = 0
  }
  expect_failures = [var.backup_retention_days]
}

run "unknown_insights_mode_is_refused" {
  command = plan
  variables {
    insights_mode = "premium"
  }
  expect_failures = [var.insights_mode]
}

run "advanced_insights_on_a_small_class_are_refused" {
  command = plan
  variables {
    insights_mode = "advanced"
  }
  expect_failures = [var.insights_mode]
}

run "advanced_insights_on_a_medium_class_are_accepted" {
  command = plan
  variables {
    insights_mode  = "advanced"
    instance_class = "db.t4g.medium"
  }
}

run "unknown_monitoring_interval_is_refused" {
  command = plan
  variables {
    monitoring_interval_seconds = 2
  }
  expect_failures = [var.monitoring_interval_seconds]
}

run "log_retention_unknown_to_cloudwatch_is_refused" {
  command = plan
  variables {
    log_retention_days = 8
  }
  expect_failures = [var.log_retention_days]
}

run "pool_of_zero_percent_is_refused" {
  command = plan
  variables {
    proxy = { max_connections_percent = 0 }
  }
  expect_failures = [var.proxy]
}

run "borrow_timeout_above_the_socket_timeout_is_refused" {
  command = plan
  variables {
    proxy = { max_connections_percent = 85, borrow_timeout_seconds = 30 }
  }
  expect_failures = [var.proxy]
}

run "too_short_idle_client_timeout_is_refused" {
  command = plan
  variables {
    proxy = { max_connections_percent = 85, idle_client_timeout_seconds = 170 }
  }
  expect_failures = [var.proxy]
}

run "proxy_in_one_subnet_is_refused" {
  command = plan
  variables {
    proxy_subnet_ids = ["subnet-1"]
  }
  expect_failures = [var.proxy_subnet_ids]
}

# What the provider and RDS take: at most one of a snapshot and a source with an instant, and no database name.
run "each_kind_of_restore_makes_an_instance_beside_the_earlier_ones" {
  variables {
    restores = [
      { snapshot = "final-pmp-dev-a1b2c3d4" },
      { snapshot = "rds:pmp-dev-2026-11-26-01-05" },
      { point_in_time = "2026-11-26T12:00:00Z", source = "pmp-dev-r2" },
      { point_in_time = "latest", source = "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
      { point_in_time = "latest", source = "arn:aws:rds:eu-west-1:123456789012:auto-backup:ab-abcdefghijklmnopqrstuvwxyz" },
    ]
  }

  assert {
    condition = jsonencode(local.generations) == jsonencode({
      original = { identifier = "pmp-dev", engine = "postgres", snapshot = null, point_in_time = null }
      r1       = { identifier = "pmp-dev-r1", engine = "postgres", snapshot = "final-pmp-dev-a1b2c3d4", point_in_time = null }
      r2 = {
        identifier = "pmp-dev-r2", engine = "postgres", point_in_time = null
        snapshot   = "rds:pmp-dev-2026-11-26-01-05"
      }
      r3 = {
        identifier    = "pmp-dev-r3", engine = "postgres", snapshot = null
        point_in_time = { restore_time = "2026-11-26T12:00:00Z", source_db_instance_identifier = "pmp-dev-r2" }
      }
      r4 = {
        identifier    = "pmp-dev-r4", engine = "postgres", snapshot = null
        point_in_time = { use_latest_restorable_time = "true", source_dbi_resource_id = "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ" }
      }
      r5 = {
        identifier = "pmp-dev-r5", engine = "postgres", snapshot = null
        point_in_time = {
          use_latest_restorable_time               = "true"
          source_db_instance_automated_backups_arn = "arn:aws:rds:eu-west-1:123456789012:auto-backup:ab-abcdefghijklmnopqrstuvwxyz"
        }
      }
    })
    error_message = "generations are ${jsonencode(local.generations)}"
  }

  assert {
    condition     = keys(module.instance) == ["original", "r1", "r2", "r3", "r4", "r5"]
    error_message = "an earlier instance must stay until it is retired"
  }
}

run "the_last_restore_serves" {
  variables {
    restores = [{ point_in_time = "latest", source = "pmp-dev" }]
  }

  assert {
    condition     = output.database_identifier == "pmp-dev-r1" && output.database_name == "pmp"
    error_message = "alarms, parameters and the function's database must follow the restore, not ${output.database_identifier}"
  }

  assert {
    condition     = aws_db_proxy_target.this.db_instance_identifier == "pmp-dev-r1" && aws_db_proxy.this.name == "pmp-dev"
    error_message = "the same proxy must lead to the restored instance"
  }

  assert {
    condition     = output.master_secret_arn == module.instance["r1"].db_instance_master_user_secret_arn && output.database_host == module.instance["r1"].db_instance_address
    error_message = "migrations must use the restored instance and its own master's secret"
  }
}

run "without_a_restore_the_original_serves" {
  assert {
    condition     = output.database_identifier == "pmp-dev" && keys(module.instance) == ["original"]
    error_message = "there must be one instance, named after the environment"
  }
}

# A replaced instance's id would be unknown here.
run "a_restore_leaves_the_original_as_it_is" {
  command = plan

  variables {
    restores = [{ point_in_time = "latest", source = "pmp-dev" }]
  }

  assert {
    condition     = module.instance["original"].db_instance_resource_id == run.without_a_restore_the_original_serves.database_resource_id
    error_message = "the plan of a restore must not replace the damaged instance"
  }
}

run "a_retired_original_goes_and_the_restore_keeps_its_address" {
  variables {
    restores          = [{ point_in_time = "latest", source = "pmp-dev" }]
    retired_instances = 1
  }

  assert {
    condition     = keys(module.instance) == ["r1"] && output.database_identifier == "pmp-dev-r1"
    error_message = "only the restored instance must be left"
  }
}

run "snapshot_and_point_in_time_together_are_refused" {
  command = plan
  variables {
    restores = [{ snapshot = "final-pmp-dev-a1b2c3d4", point_in_time = "latest", source = "pmp-dev" }]
  }
  expect_failures = [var.restores]
}

run "neither_snapshot_nor_point_in_time_is_refused" {
  command = plan
  variables {
    restores = [{ source = "pmp-dev" }]
  }
  expect_failures = [var.restores]
}

run "snapshot_with_a_source_is_refused" {
  command = plan
  variables {
    restores = [{ snapshot = "final-pmp-dev-a1b2c3d4", source = "pmp-dev" }]
  }
  expect_failures = [var.restores]
}

run "invalid_snapshot_is_refused" {
  command = plan
  variables {
    restores = [{ snapshot = "final pmp dev" }]
  }
  expect_failures = [var.restores]
}

run "snapshot_of_another_environment_is_refused" {
  command = plan
  variables {
    restores = [{ snapshot = "rds:pmp-prod-2026-11-26-01-05" }]
  }
  expect_failures = [var.restores]
}

run "instant_without_a_zone_is_refused" {
  command = plan
  variables {
    restores = [{ point_in_time = "2026-11-26 12:00", source = "pmp-dev" }]
  }
  expect_failures = [var.restores]
}

run "instant_in_another_zone_is_refused" {
  command = plan
  variables {
    restores = [{ point_in_time = "2026-11-26T12:00:00+01:00", source = "pmp-dev" }]
  }
  expect_failures = [var.restores]
}

run "point_in_time_without_a_source_is_refused" {
  command = plan
  variables {
    restores = [{ point_in_time = "latest" }]
  }
  expect_failures = [var.restores]
}

run "database_of_another_environment_as_source_is_refused" {
  command = plan
  variables {
    restores = [{ point_in_time = "latest", source = "pmp-prod" }]
  }
  expect_failures = [var.restores]
}

run "restore_from_itself_is_refused" {
  command = plan
  variables {
    restores = [{ point_in_time = "latest", source = "pmp-dev-r1" }]
  }
  expect_failures = [var.restores]
}

run "retiring_the_instance_that_serves_is_refused" {
  command = plan
  variables {
    restores          = [{ point_in_time = "latest", source = "pmp-dev" }]
    retired_instances = 2
  }
  expect_failures = [var.retired_instances]
}
