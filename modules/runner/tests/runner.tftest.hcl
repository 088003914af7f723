mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 3 }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/pmp/pmp-dev-runner" }
  }
}

variables {
  name                     = "pmp-dev"
  environment              = "dev"
  packages                 = ["postgresql-client", "sqitch"]
  subnet_ids               = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  security_group_id        = "sg-0123456789abcdef0"
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}

run "instance_is_encrypted_and_has_no_public_access" {
  assert {
    condition = (
      aws_launch_template.this.metadata_options[0].http_tokens == "required" &&
      aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "the metadata service must require a token and answer only this host"
  }

  assert {
    condition = (
      aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true" &&
      aws_launch_template.this.block_device_mappings[0].ebs[0].kms_key_id == var.kms_key_arn
    )
    error_message = "the disk must be encrypted with the environment's key"
  }

  assert {
    condition = (
      aws_launch_template.this.network_interfaces[0].associate_public_ip_address == "false" &&
      aws_launch_template.this.network_interfaces[0].security_groups == toset([var.security_group_id])
    )
    error_message = "the instance must have no public address and only the runner's security group"
  }

  assert {
    condition     = aws_launch_template.this.key_name == null
    error_message = "the instance must have no SSH key"
  }

  assert {
    condition     = endswith(aws_launch_template.this.image_id, "/arm64")
    error_message = "the image must be for arm64, as the processor is"
  }
}

run "group_has_one_instance_and_replaces_it_for_a_new_template" {
  assert {
    condition = (
      aws_autoscaling_group.this.min_size == 1 && aws_autoscaling_group.this.max_size == 1 &&
      aws_autoscaling_group.this.desired_capacity == 1
    )
    error_message = "two runners would run migrations of one environment at the same time"
  }

  assert {
    condition     = aws_autoscaling_group.this.launch_template[0].version == "3" && length(aws_autoscaling_group.this.instance_refresh) == 1
    error_message = "a changed template must replace the instance"
  }

  assert {
    condition     = aws_autoscaling_group.this.max_instance_lifetime == 604800
    error_message = "an instance must be replaced after a week, by one with a newer image"
  }
}

run "role_can_read_only_its_own_token" {
  assert {
    condition = (
      aws_iam_role.this.name == "pmp-dev-runner" && aws_iam_role.this.path == "/pmp/" &&
      aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    )
    error_message = "the delivery identity may create no other role"
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : [statement.Action, statement.Resource]] == [
      ["ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/pmp/dev/runner/token"],
      ["kms:Decrypt", var.kms_key_arn],
    ]
    error_message = "policy: ${aws_iam_role_policy.this.policy}"
  }
}

run "user_data_contains_no_secret" {
  assert {
    condition     = startswith(output.user_data, "#cloud-config\n") && yamldecode(output.user_data).runcmd == [["/usr/local/sbin/pmp-runner-setup"]]
    error_message = "cloud-init does not recognize this user data"
  }

  assert {
    condition     = !strcontains(output.user_data, "glrt-") && strcontains(output.user_data, "PMP_TOKEN_PARAMETER=/pmp/dev/runner/token")
    error_message = "the user data must hold the name of the token's parameter, not the token"
  }

  assert {
    condition     = length(base64encode(output.user_data)) < 16384
    error_message = "EC2 accepts at most 16 KiB of user data"
  }

  assert {
    condition     = output.runner_tags == ["pmp-dev", "pmp-migration"]
    error_message = "the tags differ from those of the pipeline's migration jobs"
  }
}

run "downloads_can_be_pinned" {
  command = plan

  variables {
    downloads = {
      ssm_agent_version      = "3.3.987.0"
      ssm_agent_sha256       = "00000000000000000000000000000000000000000000000000000000000000aa"
      rds_authorities_sha256 = "00000000000000000000000000000000000000000000000000000000000000bb"
    }
  }

  assert {
    condition = alltrue([
      for line in [
        "PMP_SSM_AGENT_VERSION=3.3.987.0\n",
        "PMP_SSM_AGENT_SHA256=${var.downloads.ssm_agent_sha256}\n",
        "PMP_RDS_AUTHORITIES_SHA256=${var.downloads.rds_authorities_sha256}\n",
      ] : strcontains(yamldecode(output.user_data).write_files[0].content, line)
    ])
    error_message = "the setup compares its downloads with these values"
  }
}

run "download_without_a_digest_is_refused" {
  command = plan

  variables {
    downloads = { ssm_agent_version = "latest", ssm_agent_sha256 = "", rds_authorities_sha256 = "" }
  }

  expect_failures = [var.downloads]
}

run "invalid_name_is_refused" {
  command = plan

  variables {
    name = "runner"
  }

  expect_failures = [var.name]
}

run "environment_in_capitals_is_refused" {
  command = plan

  variables {
    environment = "DEV"
  }

  expect_failures = [var.environment]
}

run "gitlab_url_without_tls_is_refused" {
  command = plan

  variables {
    gitlab_url = "http://gitlab.example.com"
  }

  expect_failures = [var.gitlab_url]
}

run "gitlab_url_with_a_command_is_refused" {
  command = plan

  variables {
    gitlab_url = "https://gitlab.com\"; reboot; \""
  }

  expect_failures = [var.gitlab_url]
}

run "instance_type_of_another_architecture_is_refused" {
  command = plan

  variables {
    instance_type = "t3.small"
  }

  expect_failures = [var.instance_type]
}

run "empty_subnet_list_is_refused" {
  command = plan

  variables {
    subnet_ids = []
  }

  expect_failures = [var.subnet_ids]
}

run "package_with_a_command_is_refused" {
  command = plan

  variables {
    packages = ["sqitch; reboot"]
  }

  expect_failures = [var.packages]
}
