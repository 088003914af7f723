# A GitLab runner beside the database, for the migration jobs alone. One instance in a group of one: when it fails, or is
# a week old, the group makes a new one from the newest image.

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

locals {
  account_id = data.aws_caller_identity.this.account_id
  region     = data.aws_region.this.name

  # Debian publishes where its newest image is; EC2 looks it up at each launch, so no plan changes when Debian does.
  # Source: Debian's wiki, page Cloud/AmazonEC2Image.
  image = "resolve:ssm:/aws/service/debian/release/12/latest/arm64"
}

resource "aws_launch_template" "this" {
  name                   = "${var.name}-runner"
  description            = "GitLab runner of ${var.name}"
  image_id               = local.image
  instance_type          = var.instance_type
  update_default_version = true
  user_data              = base64encode(local.user_data)

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 16
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  network_interfaces {
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [var.security_group_id]
  }

  monitoring {
    enabled = true
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = { Name = "${var.name}-runner", Project = "pmp", Environment = var.environment }
    }
  }
}

resource "aws_autoscaling_group" "this" {
  name                  = "${var.name}-runner"
  min_size              = 1
  max_size              = 1
  desired_capacity      = 1
  vpc_zone_identifier   = var.subnet_ids
  health_check_type     = "EC2"
  max_instance_lifetime = 7 * 24 * 3600
  # Instances take minutes to come; nothing in this layer waits for the runner.
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  # A changed template makes a new instance at once; for a few minutes there is none. A migration that is cut off rolls
  # back to its last whole change, and may be run again.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 0
    }
  }

  tag {
    key                 = "Name"
    value               = "${var.name}-runner"
    propagate_at_launch = true
  }
}
