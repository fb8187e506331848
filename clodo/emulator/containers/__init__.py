"""Containers: `store` keeps applications as deploys make them; no container is started, and there is no registry."""
