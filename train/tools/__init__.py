"""The functions behind `wsshm train label`, `pseudo` and `average`."""
