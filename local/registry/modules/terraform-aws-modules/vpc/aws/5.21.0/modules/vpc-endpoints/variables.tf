variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
  default     = null
}

variable "endpoints" {
  description = <<-EOT
    Endpoints by a key that the caller chooses: `service` (`s3`), `service_type` (`Interface` unless `Gateway`),
    `route_table_ids` (Gateway), `subnet_ids` and `private_dns_enabled` (Interface), `policy` (JSON), `tags`.
  EOT
  type        = any
  default     = {}
}

variable "security_group_ids" {
  description = "Security groups of the interface endpoints."
  type        = list(string)
  default     = []
}

variable "subnet_ids" {
  description = "Subnets of interface endpoints that set no subnets."
  type        = list(string)
  default     = []
}
