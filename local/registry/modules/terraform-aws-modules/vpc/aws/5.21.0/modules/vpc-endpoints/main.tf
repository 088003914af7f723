data "aws_vpc_endpoint_service" "this" {
  for_each = var.endpoints

  service = each.value.service

  filter {
    name   = "service-type"
    values = [try(each.value.service_type, "Interface")]
  }
}

resource "aws_vpc_endpoint" "this" {
  for_each = var.endpoints

  vpc_id              = var.vpc_id
  service_name        = data.aws_vpc_endpoint_service.this[each.key].service_name
  vpc_endpoint_type   = try(each.value.service_type, "Interface")
  policy              = try(each.value.policy, null)
  route_table_ids     = try(each.value.service_type, "Interface") == "Gateway" ? each.value.route_table_ids : null
  subnet_ids          = try(each.value.service_type, "Interface") == "Gateway" ? null : try(each.value.subnet_ids, var.subnet_ids)
  security_group_ids  = try(each.value.service_type, "Interface") == "Gateway" ? null : var.security_group_ids
  private_dns_enabled = try(each.value.service_type, "Interface") == "Gateway" ? null : try(each.value.private_dns_enabled, null)

  tags = try(each.value.tags, {})

  timeouts {
    create = "10m"
    update = "10m"
    delete = "10m"
  }
}
