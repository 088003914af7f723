key                  = "foundation.tfstate"
workspace_key_prefix = "foundation"
encrypt              = true
use_lockfile         = true
