# Two zones, one NAT gateway, endpoints for what the function and the migration job call, names by an allow-list.
module "network" {
  source = "../../"

  name = "pmp-dev"
  cidr = "10.20.0.0/16"
  subnet_cidrs = {
    private  = ["10.20.0.0/20", "10.20.16.0/20"]
    database = ["10.20.56.0/24", "10.20.57.0/24"]
    public   = ["10.20.60.0/24", "10.20.61.0/24"]
  }
  nat                      = "single"
  interface_endpoints      = ["secretsmanager", "sqs"]
  bucket_names             = ["pmp-dev-imports-123456789012-eu-west-1"]
  dns_allow_list           = ["vendor-list.consensu.org", "gitlab.com"]
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-4333-8444-555555555555"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}
