"""Tools beside training: sweeps, audits of data, tables of tracks, rendered examples, publishing."""
