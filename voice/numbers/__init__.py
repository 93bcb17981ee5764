"""Telephone numbers: imported, bought, renewed, given back. `api` → `service` → `commands` and `purchase`."""
