mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_backup_vault" {
    defaults = { arn = "arn:aws:backup:eu-west-1:123456789012:backup-vault:pmp-prod-backups" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pmp-backups/x" }
  }
}

mock_provider "aws" {
  alias = "copies"

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_resource "aws_backup_vault" {
    defaults = { arn = "arn:aws:backup:eu-central-1:123456789012:backup-vault:pmp-prod-backup-copies" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555" }
  }
}

variables {
  name           = "pmp-prod"
  retention_days = 90
  copy_region    = "eu-central-1"
}

run "each_backup_is_copied_under_a_key_of_its_region" {
  assert {
    condition     = one(one(aws_backup_plan.this.rule).copy_action).destination_vault_arn == "arn:aws:backup:eu-central-1:123456789012:backup-vault:pmp-prod-backup-copies"
    error_message = "the plan must copy to the other region's vault"
  }

  assert {
    condition     = aws_backup_vault.copies["eu-central-1"].kms_key_arn == "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555"
    error_message = "copies must be encrypted under a key of their region"
  }

  assert {
    condition     = output.vault_arns == ["arn:aws:backup:eu-west-1:123456789012:backup-vault:pmp-prod-backups", "arn:aws:backup:eu-central-1:123456789012:backup-vault:pmp-prod-backup-copies"]
    error_message = "vault_arns are ${jsonencode(output.vault_arns)}"
  }
}

# envs/foundation/alarms.tf watches them by these names.
run "the_vaults_have_the_names_that_the_alarms_watch" {
  assert {
    condition     = aws_backup_vault.this.name == "pmp-prod-backups" && aws_backup_vault.copies["eu-central-1"].name == "pmp-prod-backup-copies"
    error_message = "an alarm would watch a vault that does not exist"
  }
}

run "nothing_leaves_early_or_stays_longer" {
  assert {
    condition = alltrue([
      for lock in concat(aws_backup_vault_lock_configuration.this, values(aws_backup_vault_lock_configuration.copies)) :
      lock.min_retention_days == 90 && lock.max_retention_days == 90 && lock.changeable_for_days == null
    ]) && length(aws_backup_vault_lock_configuration.copies) == 1
    error_message = "both vaults must keep a backup for exactly its days, and governance must not become final"
  }

  assert {
    condition     = one(one(aws_backup_plan.this.rule).lifecycle).delete_after == 90 && one(one(one(aws_backup_plan.this.rule).copy_action).lifecycle).delete_after == 90
    error_message = "the lock refuses a backup that is kept for other days"
  }
}

run "compliance_becomes_final_after_three_days" {
  command = plan

  variables {
    lock = "compliance"
  }

  assert {
    condition     = aws_backup_vault_lock_configuration.this[0].changeable_for_days == 3 && aws_backup_vault_lock_configuration.copies["eu-central-1"].changeable_for_days == 3
    error_message = "compliance must become final after three days, the fewest that AWS takes"
  }
}

run "without_a_region_there_is_one_vault" {
  variables {
    copy_region = null
    lock        = "none"
  }

  assert {
    condition     = length(aws_backup_vault.copies) == 0 && length(aws_kms_key.copies) == 0 && length(one(aws_backup_plan.this.rule).copy_action) == 0 && length(aws_backup_vault_lock_configuration.this) == 0
    error_message = "without copy_region and lock there must be the vault alone"
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this.policy, "eu-central-1")
    error_message = "without copies, the role must reach one region only"
  }
}

# A restored database is backed up, another environment's and another product's is not.
run "only_this_environments_databases_are_backed_up" {
  assert {
    condition = aws_backup_selection.this.resources == toset([
      "arn:aws:rds:eu-west-1:123456789012:cluster:pmp-prod", "arn:aws:rds:eu-west-1:123456789012:cluster:pmp-prod-r*",
      "arn:aws:rds:eu-west-1:123456789012:db:pmp-prod", "arn:aws:rds:eu-west-1:123456789012:db:pmp-prod-r*",
    ])
    error_message = "the selection is ${jsonencode(aws_backup_selection.this.resources)}"
  }

  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : [for resource in flatten([statement.Resource]) : resource != "*"]
    ]))
    error_message = "no statement of the role may hold for every resource"
  }

  assert {
    condition     = aws_iam_role.this.path == "/pmp-backups/"
    error_message = "the delivery identities may change roles under /pmp/"
  }
}

run "a_copy_beside_the_database_is_refused" {
  command = plan

  variables {
    copy_region = "eu-west-1"
  }

  expect_failures = [var.copy_region]
}

run "a_copy_to_another_region_than_the_providers_is_refused" {
  command = plan

  variables {
    copy_region = "us-east-1"
  }

  expect_failures = [var.copy_region]
}

run "a_region_that_is_none_is_refused" {
  command = plan

  variables {
    copy_region = "Frankfurt"
  }

  expect_failures = [var.copy_region]
}

run "half_a_day_of_retention_is_refused" {
  command = plan

  variables {
    retention_days = 0.5
  }

  expect_failures = [var.retention_days]
}

run "another_lock_is_refused" {
  command = plan

  variables {
    lock = "permanent"
  }

  expect_failures = [var.lock]
}

run "another_products_name_is_refused" {
  command = plan

  variables {
    name = "shop-prod"
  }

  expect_failures = [var.name]
}
