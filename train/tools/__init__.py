"""The functions behind `wsshm train average` and `wsshm train pseudo`."""
