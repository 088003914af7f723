# Security groups know addresses, not names. With this, the VPC resolves what is on the list and nothing else.
locals {
  enable_dns_firewall = length(var.dns_allow_list) > 0
  dns_rules = local.enable_dns_firewall ? {
    allow = { priority = 100, action = "ALLOW", domains = concat(["*.amazonaws.com."], [for domain in var.dns_allow_list : "${trimsuffix(domain, ".")}."]) }
    block = { priority = 200, action = "BLOCK", domains = ["*."] }
  } : {}
}

resource "aws_route53_resolver_firewall_domain_list" "this" {
  for_each = local.dns_rules

  name    = "${var.name}-${each.key}"
  domains = each.value.domains
}

resource "aws_route53_resolver_firewall_rule_group" "this" {
  count = local.enable_dns_firewall ? 1 : 0

  name = var.name
}

resource "aws_route53_resolver_firewall_rule" "this" {
  for_each = local.dns_rules

  name                    = "${var.name}-${each.key}"
  firewall_rule_group_id  = aws_route53_resolver_firewall_rule_group.this[0].id
  firewall_domain_list_id = aws_route53_resolver_firewall_domain_list.this[each.key].id
  priority                = each.value.priority
  action                  = each.value.action
  block_response          = each.value.action == "BLOCK" ? "NXDOMAIN" : null
  # Most hosts are an alias of a CDN's name, which is not on the list and changes.
  firewall_domain_redirection_action = each.value.action == "ALLOW" ? "TRUST_REDIRECTION_DOMAIN" : null
}

resource "aws_route53_resolver_firewall_rule_group_association" "this" {
  count = local.enable_dns_firewall ? 1 : 0

  name                   = var.name
  firewall_rule_group_id = aws_route53_resolver_firewall_rule_group.this[0].id
  vpc_id                 = module.vpc.vpc_id
  priority               = 101
}

# Should the firewall itself fail, names are not resolved: an outage is better than a leak.
resource "aws_route53_resolver_firewall_config" "this" {
  count = local.enable_dns_firewall ? 1 : 0

  resource_id        = module.vpc.vpc_id
  firewall_fail_open = "DISABLED"
}
