key                  = "service.tfstate"
workspace_key_prefix = "service"
encrypt              = true
use_lockfile         = true
