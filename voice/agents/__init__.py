"""Agents: what an organisation has its calls conducted by. `api` → `service` → `commands`; `tables` holds them."""
