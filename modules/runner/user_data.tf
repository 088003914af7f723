# cloud-init writes four files and runs the setup. It holds no secret: anybody who may describe the instance can read it.
locals {
  token_parameter_name = "/pmp/${var.environment}/runner/token"
  tags                 = ["pmp-${var.environment}", "pmp-migration"]

  user_data = "#cloud-config\n${yamlencode({
    package_update  = false
    package_upgrade = false
    write_files = [
      {
        path        = "/etc/pmp/runner.env"
        owner       = "root:root"
        permissions = "0644"
        content = join("\n", [
          "PMP_RUNNER_NAME=${var.name}",
          "PMP_GITLAB_URL=${var.gitlab_url}",
          "PMP_TOKEN_PARAMETER=${local.token_parameter_name}",
          "AWS_REGION=${local.region}",
          "PMP_SSM_AGENT_VERSION=${try(var.downloads.ssm_agent_version, "latest")}",
          "PMP_SSM_AGENT_SHA256=${try(var.downloads.ssm_agent_sha256, "")}",
          "PMP_RDS_AUTHORITIES_SHA256=${try(var.downloads.rds_authorities_sha256, "")}",
          "",
        ])
      },
      {
        path        = "/etc/pmp/packages"
        owner       = "root:root"
        permissions = "0644"
        content     = join("\n", concat(var.packages, [""]))
      },
      {
        path        = "/usr/local/sbin/pmp-runner-setup"
        owner       = "root:root"
        permissions = "0755"
        content     = file("${path.module}/setup.sh")
      },
    ]
    runcmd = [["/usr/local/sbin/pmp-runner-setup"]]
  })}"
}
